"""What the scores of a reward model are normalized by: its scores of a starting policy's own responses."""

import statistics
from dataclasses import dataclass
from typing import Any

import torch

from appliance.config import RewardConfig
from appliance.config.base import TokenRange
from appliance.config.ppo import Sampling
from appliance.config.reward import Normalization
from appliance.data.preferences import Ranking
from appliance.data.prompts import PromptTexts, read_prompts
from appliance.engines._choice import make_engine
from appliance.errors import ConfigError, DataError
from appliance.models.build import frozen_policy
from appliance.models.loading import Loaded, load_policy_model
from appliance.models.precision import Precision
from appliance.models.start import with_adapter
from appliance.models.tokens import TokenizedPrompts, check_context, context_tokens, decoder, stop_ids, tokenize_prompts
from appliance.ppo.feed import draw_responses, seed_for
from appliance.ppo.invariants import settle_reading
from appliance.ppo.memory import ChunkSize, Notice
from appliance.ppo.rollout import sample
from appliance.ppo.types import ScoreFn
from appliance.progress import progress
from appliance.rewards._checked import checked

AT_A_TIME = 128
"""Responses that are sampled together."""

UNLIMITED = 10**9
"""Tokens that a model reads which does not say how many."""


@dataclass(frozen=True)
class Samples:
    """Texts whose scores are to have mean 0 and standard deviation 1, and in words what they are."""

    prompts: list[str]
    responses: list[str]
    measured_on: dict[str, Any]


def held_out_samples(rankings: list[Ranking]) -> Samples:
    """The held-out responses themselves."""
    texts = [(ranking.prompt, response) for ranking in rankings for response in ranking.responses]
    what = {"what": "the held-out responses", "samples": len(texts)}
    return Samples([prompt for prompt, _ in texts], [response for _, response in texts], what)


def policy_samples(
    options: Normalization, config: RewardConfig, held_out: list[Ranking], precision: Precision
) -> Samples:
    """What the starting policy writes: `options.samples` responses, one after another prompt; the same for one seed.

    Raises ModelError when the policy cannot be read, DataError or ConfigError when there is no prompt that it can read.
    """
    with progress("Starting policy", options.samples) as shown:
        asked = _prompt_texts(options, held_out)
        source = options.policy
        loaded = with_adapter(load_policy_model(source.model, source.revision), source.adapter)
        length, keep = _lengths(options, loaded)
        apart = loaded.model.config.is_encoder_decoder
        found = tokenize_prompts(loaded.tokenizer, asked.texts, length=length, seed=config.seed, keep=keep, apart=apart)
        for note in (*asked.notes, *found.notes):
            shown.say(f"  {note}")
        origin = options.prompts.source if options.prompts is not None else config.data.source
        if not len(found):
            raise DataError(
                f"{origin}: no prompt is left for the normalization ({'; '.join(found.notes)})",
                "give other prompts in normalization.prompts",
            )
        check_context(found, options.response_tokens.high, loaded.model, origin=origin)
        prompts, responses = _written(loaded, found, options, config.seed, precision, shown.say)
        shown.advance(options.samples)
    what = {
        "what": "responses of the starting policy",
        "policy": source.model,
        "revision": source.revision,
        "adapter": source.adapter,
        "prompts": origin,
        "samples": options.samples,
        "response_tokens": [options.response_tokens.low, options.response_tokens.high],
    }
    return Samples(prompts, responses, what)


def _written(
    loaded: Loaded,
    found: TokenizedPrompts,
    options: Normalization,
    seed: int,
    precision: Precision,
    notice: Notice,
) -> tuple[list[str], list[str]]:
    """Prompts in a random order, again and again until there are enough, and a response to each."""
    limits = options.response_tokens
    policy = frozen_policy(loaded.model, precision)
    lm = policy.model.lm
    generator = torch.Generator().manual_seed(seed_for(seed, "normalization"))
    order = torch.randperm(len(found), generator=generator).tolist()
    prompts = found.pick([order[i % len(order)] for i in range(options.samples)])
    settle_reading(policy, prompts, limits.high)
    drawn, uniforms = draw_responses(options.samples, limits, generator)
    engine = make_engine(policy, Sampling(response_tokens=limits), stop_ids(lm, loaded.tokenizer))
    decode = decoder(loaded.tokenizer, lm)
    chunk = ChunkSize("generation", AT_A_TIME, notice)
    with torch.no_grad(), precision.active():
        made = sample(engine, prompts.to(precision.device), drawn, uniforms, decode=decode, chunk=chunk)
    return list(prompts.texts), list(made.texts)


def _lengths(options: Normalization, loaded: Loaded) -> tuple[TokenRange | None, TokenRange | None]:
    """What prompts are cut to, and which are kept; of the held-out rankings' prompts, those that the policy can read."""
    if options.prompts is not None:
        return options.prompts.length_tokens, options.prompts.keep_tokens
    room = (context_tokens(loaded.model) or UNLIMITED) - options.response_tokens.high
    return None, TokenRange(low=1, high=max(1, room))


def _prompt_texts(options: Normalization, held_out: list[Ranking]) -> PromptTexts:
    if options.prompts is not None:
        return read_prompts(options.prompts)
    texts = list(dict.fromkeys(ranking.prompt for ranking in held_out if ranking.prompt.strip()))
    if not texts:
        raise ConfigError(
            "normalization.prompts is missing, and the preferences have no prompts apart from their responses",
            "set normalization.prompts, or give the preferences a prompt column",
        )
    return PromptTexts(texts, [])


def scale(score: ScoreFn, samples: Samples) -> dict[str, Any]:
    """mean and std of the raw scores of `samples` (std 1 where they are all equal), and what they were measured on.

    Raises ApplianceError for a score that is not finite.
    """
    given = score(samples.prompts, samples.responses)
    found = checked(given, samples.prompts, samples.responses, name="the reward model").tolist()
    return {
        "mean": statistics.fmean(found),
        "std": statistics.pstdev(found) or 1.0,
        "measured_on": samples.measured_on,
    }
