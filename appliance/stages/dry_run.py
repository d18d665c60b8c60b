"""A run tried before it is queued: its models loaded, its prompts split, two answers written and scored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from appliance.config import PpoConfig
from appliance.config.base import TokenRange
from appliance.errors import ApplianceError
from appliance.models.precision import choose
from appliance.models.start import load_start
from appliance.ppo.types import ScoreFn
from appliance.rewards._blending import Blend
from appliance.rewards._checked import checked
from appliance.stages.evaluation import judges_of
from appliance.stages.generation import Writer
from appliance.stages.prompts import prompt_sets

ANSWERS = 2
"""Prompts that are answered."""


def dry_run(config: PpoConfig) -> Iterator[dict[str, Any]]:
    """What is found, as it is found: {"check": model, prompts, scorer or samples, "ok", "said", "fix", "seconds"}.

    The last one holds `answers`, each with prompt, response, score (None where a blend's scales are not measured yet) and
    parts (of a blend: each one's own score). Ends with the first check that is not ok. Nothing is trained or written.
    """
    at, began = "model", time.perf_counter()

    def good(said: str, **more: Any) -> dict[str, Any]:
        return {
            "check": at,
            "ok": True,
            "said": said,
            "fix": None,
            "seconds": round(time.perf_counter() - began, 2),
            **more,
        }

    try:
        precision = choose(config.device, config.compute)
        start = load_start(config.policy, precision)
        weights = sum(parameter.numel() for parameter in start.model.parameters())
        yield good(f"the starting model loads: {weights:,} weights, on the {precision.device.type}")
        at, began = "prompts", time.perf_counter()
        sets = prompt_sets(config, start.model, start.tokenizer)
        yield good(
            f"{len(sets.train)} practice prompts, {len(sets.held_out)} test prompts, {len(sets.report)} for the report"
        )
        at, began = "scorer", time.perf_counter()
        source = judges_of(config, precision).source
        yield good("the scorer loads")
        at, began = "samples", time.perf_counter()
        limit = config.sampling.response_tokens.high
        fixed = config.sampling.model_copy(update={"response_tokens": TokenRange(low=limit, high=limit)})
        writer = Writer(start, fixed, precision)
        prompts = list(sets.train.texts[:ANSWERS])
        responses = [writer.write(prompt, samples=1, seed=config.seed)[0] for prompt in prompts]
        answers = scored(source, prompts, responses)
        yield good(f"{len(answers)} answers written and scored", answers=answers)
    except ApplianceError as error:
        seconds = round(time.perf_counter() - began, 2)
        yield {"check": at, "ok": False, "said": error.what, "fix": error.fix, "seconds": seconds}


def scored(source: ScoreFn, prompts: list[str], responses: list[str]) -> list[dict[str, Any]]:
    """The answers with their scores. Raises ApplianceError as the source does."""
    if isinstance(source, Blend):
        parts = [dict(zip(source.names, row, strict=True)) for row in source.each(prompts, responses).tolist()]
        scores = [None] * len(prompts) if source.unsettled else source(prompts, responses).tolist()
    else:
        parts = [{} for _ in prompts]
        scores = checked(source(prompts, responses), prompts, responses).tolist()
    return [
        {"prompt": prompt, "response": response, "score": score, "parts": part}
        for prompt, response, score, part in zip(prompts, responses, scores, parts, strict=True)
    ]
