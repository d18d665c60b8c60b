"""The comparison of a run's result with its start, and its report. Made by the run itself, and again when asked for."""

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from appliance import parts
from appliance.config import PpoConfig, to_yaml
from appliance.errors import ApplianceError
from appliance.evaluate import report
from appliance.evaluate.answers import Judges, compare
from appliance.models.loading import load_policy_model
from appliance.models.precision import Precision, choose
from appliance.ppo.clock import peak_memory_gib
from appliance.ppo.types import Prompts, ScoreFn
from appliance.progress import progress
from appliance.stages.model_card import write_card
from appliance.stages.normalization import settled
from appliance.stages.prompts import prompt_sets, report_prompts
from appliance.stages.session import free_folder
from appliance.store.rundir import RunDir


def judges_of(config: PpoConfig, precision: Precision) -> Judges:
    """The config's reward source and second opinion, loaded. Raises ApplianceError as the sources do."""
    opinion = config.evaluation.second_opinion
    return Judges(
        reward_source(config.reward, precision), None if opinion is None else reward_source(opinion, precision)
    )


def reward_source(options: dict[str, Any], precision: Precision) -> ScoreFn:
    """The reward source that a config's section describes. Raises ApplianceError as the source does."""
    part = parts.load("rewards", options["source"])
    chosen = part.Options.model_validate({key: value for key, value in options.items() if key != "source"})
    source: ScoreFn = part.make(chosen, precision.device)
    return source


def evaluate(
    config: PpoConfig,
    run: RunDir,
    precision: Precision,
    judges: Judges,
    *,
    prompts: Prompts,
    seconds: dict[str, float],
    samples: int | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Compare the run's result with its start, write the report into `out` (report/), and return it."""
    began = time.perf_counter()
    samples = samples or config.evaluation.report_samples
    with progress("Report", 2 * len(prompts) * samples) as shown:
        comparison = compare(
            config, run.model, prompts, samples, judges, precision=precision, notice=shown.say, shown=shown
        )
    metrics = run.read_log("metrics.jsonl")
    made = report.build(
        comparison,
        metrics=metrics,
        events=run.read_log("events.jsonl"),
        seconds={**seconds, "report": time.perf_counter() - began},
        run=description(config, run, precision),
    )
    report.write(out or run.report, made, comparison, metrics)
    if out is None:
        write_card(config, run, made)
    return made


def description(config: PpoConfig, run: RunDir, precision: Precision) -> dict[str, Any]:
    """What the report says of the run: its settings, the hardware and the versions."""
    return {
        "name": config.name,
        "folder": run.path.name,
        "model": config.policy.model,
        "train": config.policy.train,
        "reward": config.reward,
        "second_opinion": config.evaluation.second_opinion,
        "seed": config.seed,
        "steps": config.batch.steps,
        "device": torch.cuda.get_device_name() if precision.device.type == "cuda" else "cpu",
        "compute": precision.compute,
        "peak_memory_gib": round(peak_memory_gib(precision.device), 2),
        "versions": versions(),
        "config": to_yaml(config),
    }


def versions() -> dict[str, str]:
    """The versions of what computed the numbers."""
    return {name: version(name) for name in ("rlhf-appliance", "torch", "transformers", "trl", "peft", "scipy")}


def evaluate_again(run: RunDir, *, prompts_file: str | None, samples: int | None) -> tuple[dict[str, Any], Path]:
    """A new comparison of a finished PPO run in a folder of its own (evaluation, evaluation-2, ...), and that folder.

    Raises ApplianceError when the run is not PPO's or has no result yet, DataError when the prompts cannot be used.
    """
    config = run.config()
    if not isinstance(config, PpoConfig):
        raise ApplianceError(f"{run.path} is a run of {config.stage}", "give the folder of a PPO run")  # type: ignore[attr-defined]
    if not (run.model / "config.json").exists():
        raise ApplianceError(f"{run.path} has no result yet", "let it finish: `appliance train ppo --resume`")
    precision = choose(config.device, config.compute)
    start = load_policy_model(config.policy.model, config.policy.revision)
    if prompts_file is not None:
        prompts = report_prompts(config, prompts_file, start.model, start.tokenizer)
    else:
        prompts = prompt_sets(config, start.model, start.tokenizer).report
    del start
    out = free_folder(run.path, "evaluation")
    judges = settled(judges_of(config, precision), run)
    made = evaluate(config, run, precision, judges, prompts=prompts, seconds={}, samples=samples, out=out)
    return made, out
