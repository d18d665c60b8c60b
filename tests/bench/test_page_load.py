"""The load test of the page runs and says what it should; its figures are for a quiet machine."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("page_load.py")


def test_people_are_answered_while_a_training_runs(tmp_path: Path):
    record = tmp_path / "record.json"
    small = ["--users", "2", "--arrive-s", "1", "--window-s", "6", "--rounds", "1", "--points", "100", "--size", "test"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *small, "--json", str(record)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(record.read_text(encoding="utf-8"))
    assert found["failures"] == 0
    assert {"first drawing", "pulse"} <= found["answers"].keys()
    assert min(found["steps"].values()) > 0
    assert "A training step" in done.stdout
