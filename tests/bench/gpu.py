"""How fast PPO runs on a GPU: GPT-2 124M, 2 to 8 prompt and 16 to 24 response tokens, 4 epochs, a DistilBERT's scores.

    .venv/bin/python tests/bench/gpu.py --trl-python .venv-trl/bin/python
    .venv/bin/python tests/bench/gpu.py --tiny --device cpu --steps 1        (whether it runs at all)

Weights are random, so nothing is downloaded. With an interpreter that has TRL 0.11.4 its PPOTrainer takes turns with
ours, step by step, so that both meet the machine in the same state. Medians over the steps after the warm-up.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import transformers
from gpu_models import make

from appliance.config import PpoConfig
from appliance.engines._choice import engine_name, make_engine
from appliance.models.build import build_policy
from appliance.models.precision import choose
from appliance.models.tokens import decoder, stop_ids, to_text
from appliance.ppo.clock import Clock
from appliance.ppo.feed import prompts_from_ids
from appliance.ppo.loop import collect
from appliance.ppo.pieces import Pieces
from appliance.ppo.state import new_state
from appliance.ppo.update import make_learner, update
from appliance.stages.evaluation import reward_source

PHASES = ("generate", "evaluate", "score", "update")
SEQUENCES = 194 * 128
"""The run that times are projected to: 194 steps of 128 responses."""


class Ours:
    """This project's engine, put together from a config as the PPO stage does it."""

    def __init__(self, folder: Path, options: argparse.Namespace, batch: int, minibatch: int) -> None:
        config = PpoConfig.model_validate(
            {
                "device": options.device,
                "compute": options.compute,
                "policy": {"model": str(folder / "policy"), "train": options.train},
                "reward": {"source": "classifier", "model": str(folder / "classifier"), "label": "POSITIVE"},
                "prompts": {"source": "prompts.json"},
                "sampling": {"engine": options.engine},
                "batch": {"rollout": batch, "minibatch": minibatch},
                "optimizer": {"schedule": "constant"},
            }
        )
        precision = choose(config.device, config.compute)
        policy, loaded = build_policy(config, precision)
        ids = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
        prompts = prompts_from_ids(ids, to_text(loaded.tokenizer, ids))
        self.name = f"{engine_name(policy, config.sampling.engine)}, {precision.compute}"
        self.pieces = Pieces(
            learner=make_learner(policy, config),
            engine=make_engine(policy, config.sampling, stop_ids(policy.model.lm, loaded.tokenizer)),
            source=reward_source(config.reward, precision),
            opinion=None,
            held_out=prompts,
            decode=decoder(loaded.tokenizer),
        )
        self.state = new_state(config, prompts, print)
        if precision.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def step(self) -> dict[str, Any]:
        """Seconds of one iteration, in all and by phase, its response tokens and the peak memory."""
        learner, state = self.pieces.learner, self.state
        clock = Clock(learner.policy.device)
        work = collect(self.pieces, state, clock)
        with clock.phase("update"):
            update(
                learner,
                work.batch,
                work.plan,
                work.progress,
                step=state.step,
                kl_coef=state.kl_coef,
                chunk=state.chunks.update,
                stop=lambda: False,
            )
        state.step += 1
        record: dict[str, Any] = clock.record(int(work.batch.rollout.responses.lengths.sum()))
        record["phases"] = {name: record[name] for name in PHASES}
        return record

    @property
    def fallback(self) -> str | None:
        """Why generation went on without graphs, or None."""
        return getattr(self.pieces.engine, "fallback", None)


class Trl:
    """TRL's PPOTrainer in a process of its own."""

    def __init__(self, folder: Path, options: argparse.Namespace, batch: int, minibatch: int) -> None:
        device = "cuda" if torch.cuda.is_available() and options.device != "cpu" else "cpu"
        command = [options.trl_python, str(Path(__file__).with_name("gpu_trl.py")), str(folder), "--device", device]
        sizes = ["--batch", str(batch), "--minibatch", str(minibatch), "--dtype", options.trl_dtype]
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - open as long as the process runs
        self.child = subprocess.Popen(
            [*command, *sizes], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )

    def step(self) -> dict[str, Any]:
        """As `Ours.step`. Raises RuntimeError when the process has ended."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        try:
            self.child.stdin.write("step\n")
            self.child.stdin.flush()
            line = self.child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.log.seek(0)
            raise RuntimeError("TRL ended: " + (self.log.read().strip().splitlines() or ["without a word"])[-1])
        record: dict[str, Any] = json.loads(line)
        return record

    def close(self) -> None:
        """End the process."""
        assert self.child.stdin is not None
        with suppress(BrokenPipeError):  # it has ended before
            self.child.stdin.close()
        try:
            self.child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.child.kill()
        self.log.close()


def summary(records: list[dict[str, Any]], batch: int) -> dict[str, Any]:
    """Medians over steps: sequences per second in all and by phase, response tokens per second; the peak memory in GiB."""
    seconds = statistics.median(r["seconds"] for r in records)
    return {
        "sequences_per_s": batch / seconds,
        "phases": {n: batch / max(1e-9, statistics.median(r["phases"][n] for r in records)) for n in PHASES},
        "tokens_per_s": statistics.median(r["response_tokens"] / r["seconds"] for r in records),
        "peak_memory_gib": max(r["peak_memory_gib"] for r in records),
        "projected_minutes": SEQUENCES / batch * seconds / 60,
        "steps": len(records),
    }


def measure(folder: Path, options: argparse.Namespace, batch: int, minibatch: int) -> dict[str, Any]:
    """One setting: `ours` and, when asked for, `trl` with the `ratio` of their sequences per second."""
    ours = Ours(folder, options, batch, minibatch)
    trl = Trl(folder, options, batch, minibatch) if options.trl_python else None
    records: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
    problem = None
    try:
        for _ in range(options.warmup + options.steps):
            records["ours"].append(ours.step())
            if trl is not None and problem is None:
                try:
                    records["trl"].append(trl.step())
                except RuntimeError as error:
                    problem = str(error)
    finally:
        if trl is not None:
            trl.close()
    found: dict[str, Any] = {"batch": batch, "minibatch": minibatch, "engine": ours.name, "fallback": ours.fallback}
    found["ours"] = summary(records["ours"][options.warmup :], batch)
    found["first_step_s"] = records["ours"][0]["seconds"]
    if problem is not None:
        found["trl_problem"] = problem
    elif trl is not None:
        found["trl"] = summary(records["trl"][options.warmup :], batch)
        found["ratio"] = found["ours"]["sequences_per_s"] / found["trl"]["sequences_per_s"]
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """One setting as text."""
    shown = [f"batch {found['batch']}, minibatch {found['minibatch']} ({found['engine']})"]
    for name in ("ours", "trl"):
        if name in found:
            one = found[name]
            phases = "  ".join(f"{phase} {one['phases'][phase]:.0f}" for phase in PHASES)
            shown.append(
                f"  {name:5s}{one['sequences_per_s']:8.1f} seq/s   by phase: {phases}   {one['tokens_per_s']:.0f} tokens/s   "
                f"{one['peak_memory_gib']:.2f} GiB   {SEQUENCES} sequences in {one['projected_minutes']:.1f} min"
            )
    if "ratio" in found:
        shown.append(f"  ratio {found['ratio']:.2f}")
    if "trl_problem" in found:
        shown.append(f"  {found['trl_problem']}")
    if found["fallback"]:
        shown.append(f"  generation without graphs: {found['fallback']}")
    return shown


def read_options(arguments: list[str]) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="two layers and 8 responses: whether it runs at all")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--compute", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--train", default="full", choices=("full", "lora", "top_layers"))
    parser.add_argument("--engine", default="auto", help="auto, or a file name in appliance/engines")
    parser.add_argument("--batches", default=None, help="responses per step; default 128,256,512")
    parser.add_argument("--steps", type=int, default=10, help="measured steps per setting")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them; the first one captures graphs")
    parser.add_argument(
        "--trl-python", default=None, help="an interpreter with trl 0.11.4, transformers 4.46 and torch"
    )
    parser.add_argument("--trl-dtype", default="bf16", choices=("bf16", "fp32"), help="of TRL's weights")
    parser.add_argument("--json", type=Path, default=None, help="also write the results here")
    options = parser.parse_args(arguments)
    options.batches = [int(n) for n in (options.batches or ("8" if options.tiny else "128,256,512")).split(",")]
    if options.trl_python and not Path(options.trl_python).exists():
        parser.error(f"--trl-python {options.trl_python}: there is no such file")
    return options


def main(arguments: list[str]) -> None:
    """Print a paragraph per setting as soon as it is measured."""
    options = read_options(arguments)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    name = torch.cuda.get_device_name() if torch.cuda.is_available() and options.device != "cpu" else "CPU"
    print(
        f"{name}; torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}"
    )
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), "tiny" if options.tiny else "full")
        for batch in options.batches:
            for minibatch in sorted({min(32, batch), batch} if not options.tiny else {batch // 2, batch}):
                results.append(measure(Path(folder), options, batch, minibatch))
                print("\n".join(lines(results[-1])), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps({"device": name, "settings": results}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
