"""A reward source outside of a run: what `appliance score` and `appliance serve-reward` score with."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from appliance.config import PpoConfig
from appliance.config.load import load_reward, part_options
from appliance.config.ppo import Scores
from appliance.errors import ApplianceError
from appliance.evaluate.answers import Judges
from appliance.models.precision import choose
from appliance.ppo.advantages import Moments
from appliance.ppo.scoring import shape_scores
from appliance.ppo.types import Composite, ScoreFn
from appliance.rewards._checked import checked
from appliance.stages.evaluation import reward_source
from appliance.stages.normalization import settled
from appliance.store import rundir


@dataclass(frozen=True)
class Judge:
    """A reward source as a run uses it, its section, and what the run does with its scores (None: no run's)."""

    source: ScoreFn
    section: dict[str, Any]
    scores: Scores | None


def judge(config_file: Path | None, run_dir: Path | None) -> Judge:
    """The reward of a PPO config or of a file with a reward section alone, with the scales of a PPO run; or the run's own.

    Raises ApplianceError as the files, the run and the source do.
    """
    run = None if run_dir is None else rundir.open_existing(run_dir)
    config = None if run is None else run.config()
    if config is not None and not isinstance(config, PpoConfig):
        raise ApplianceError(f"{run_dir} is not a run of PPO", "give the folder of a PPO run")
    section: dict[str, Any]
    if config_file is not None:
        section, given = load_reward(config_file)
        config = given or config
    elif config is not None:
        section = config.reward
    else:
        raise ApplianceError("no reward is given", "name a config (--reward FILE) or a PPO run (--run RUN_DIR)")
    precision = choose(*(("auto", "auto") if config is None else (config.device, config.compute)))
    source = reward_source(section, precision)
    if run is not None:
        source = settled(Judges(source, None), run).source
    return Judge(source, section, None if config is None else config.scores)


def judge_of_model(model: str) -> Judge:
    """A reward model: the run of `appliance train reward`, or its model's folder. Raises ModelError for anything else."""
    section = part_options("rewards", {"source": "trained", "model": model}, where="MODEL")
    return Judge(reward_source(section, choose("auto", "auto")), section, None)


def judged(by: Judge, prompts: list[str], responses: list[str]) -> list[dict[str, Any]]:
    """For each text its `score`, what PPO makes of it (`shaped`; None where that depends on the run so far), and `parts`.

    `parts` holds for each source of a blend its own `score`, `normalized` and what it `added`; None where a gate kept the
    text from it. A response counts as ended by the policy itself. Raises ApplianceError as the source does.
    """
    rows: list[dict[str, Any]]
    if isinstance(by.source, Composite):
        parts = by.source.parts(prompts, responses)
        scores = by.source.combine(parts)
        columns = (parts.tolist(), by.source.normalized(parts).tolist(), by.source.added(parts).tolist())
        rows = [{"parts": _parts(by.source.names, *row)} for row in zip(*columns, strict=True)]
    else:
        scores = checked(by.source(prompts, responses), prompts, responses)
        rows = [{} for _ in responses]
    shaped: list[float | None] = [None] * len(responses)
    if by.scores is not None and by.scores.scale == "none":
        fixed = by.scores.model_copy(update={"missing_eos": "off"})
        shaped = shape_scores(scores, torch.ones(len(scores), dtype=torch.bool), fixed, Moments()).scores.tolist()
    return [
        {"prompt": prompt, "response": response, "score": score, "shaped": after} | row
        for prompt, response, score, after, row in zip(prompts, responses, scores.tolist(), shaped, rows, strict=True)
    ]


def _parts(
    names: tuple[str, ...], scores: list[float], normalized: list[float], added: list[float]
) -> dict[str, dict[str, float] | None]:
    return {
        name: None if math.isnan(score) else {"score": score, "normalized": common, "added": adds}
        for name, score, common, adds in zip(names, scores, normalized, added, strict=True)
    }
