"""Pretends to be `appliance train`: keeps a run folder as a training does, and then behaves as its second argument says."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from appliance.store.rundir import RunDir

STEPS = 400


def main(folder: Path, behaviour: str) -> int:
    """The exit code, unless the behaviour ends otherwise."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text("stage: ppo\n")
    run, asked = RunDir(folder), []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    with run.locked():
        run.set_status("running")
        if behaviour == "burst":
            for _ in range(10 * 2**20 // 1024):
                print("x" * 1023)
        elif behaviour == "memory":
            run.set_status("failed", message="OutOfMemoryError: CUDA out of memory", error="OutOfMemoryError")
            return 1
        elif behaviour == "early":
            (folder / "status.json").unlink()
            print("error: x.yaml: kl.coeff is an unknown key\n  fix: correct it", flush=True)
            return 1
        elif behaviour == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        elif behaviour == "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif behaviour in ("steps", "deaf", "family"):
            if behaviour == "family":
                child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
                (folder / "child").write_text(str(child.pid))
            begin = len(run.read_log("metrics.jsonl"))
            for step in range(begin, STEPS):
                run.append("metrics.jsonl", {"step": step, "kl": step / 2})
                run.set_status("running", step=step, steps=STEPS)
                (run.checkpoints / f"step-{step:06}").mkdir(parents=True, exist_ok=True)
                time.sleep(0.02)
                if asked and behaviour != "deaf":
                    run.set_status("stopped", step=step, steps=STEPS, message="stopped by the user; checkpoint: x")
                    return 130
        run.set_status("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
