"""The GPU benchmark runs on the CPU with tiny models; nobody looks at its times here."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).with_name("gpu.py")


def test_the_tiny_benchmark_measures_both_minibatches(tmp_path):
    results = tmp_path / "results.json"
    tiny = ["--tiny", "--device", "cpu", "--steps", "1", "--warmup", "0", "--json", str(results)]
    done = subprocess.run([sys.executable, str(BENCH), *tiny], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text())
    assert [(one["batch"], one["minibatch"]) for one in found["settings"]] == [(8, 4), (8, 8)]
    for one in found["settings"]:
        ours = one["ours"]
        assert one["engine"] == "eager, fp32"
        assert set(ours["phases"]) == {"generate", "evaluate", "score", "update"}
        # 24,832 sequences at this rate, in minutes
        assert abs(ours["projected_minutes"] - 24832 / ours["sequences_per_s"] / 60) < 1e-9 * ours["projected_minutes"]
        assert 16 * ours["sequences_per_s"] <= 1.001 * ours["tokens_per_s"] <= 1.002 * 24 * ours["sequences_per_s"]
    assert done.stdout.count("seq/s") == 2


def test_a_contender_that_cannot_start_is_said_and_does_no_harm(tmp_path):
    absent = tmp_path / "python"
    absent.write_text("#!/bin/sh\necho no trl here >&2\nexit 3\n")
    absent.chmod(0o755)
    tiny = ["--tiny", "--device", "cpu", "--steps", "1", "--warmup", "0", "--trl-python", str(absent)]
    done = subprocess.run([sys.executable, str(BENCH), *tiny], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "TRL ended: no trl here" in done.stdout
    assert "ratio" not in done.stdout
