"""What a model writes after a prompt, with the engine that PPO uses."""

from pathlib import Path

import torch

from appliance.config import PpoConfig, RewardConfig
from appliance.config.base import TokenRange
from appliance.config.ppo import Sampling
from appliance.engines._choice import make_engine
from appliance.errors import ModelError
from appliance.models.build import frozen_policy
from appliance.models.loading import load_policy_model
from appliance.models.precision import choose
from appliance.models.tokens import check_context, decoder, stop_ids, tokenize_prompts
from appliance.ppo.feed import draw_responses, seed_for
from appliance.ppo.invariants import settle_reading
from appliance.store.rundir import RunDir

DEFAULT_TOKENS = 64


def generate(
    model: str, prompt: str, *, samples: int, max_tokens: int | None, temperature: float | None, seed: int
) -> list[str]:
    """`samples` continuations of `prompt`; a run's result is sampled as its config says unless told otherwise.

    Raises ModelError for a model that cannot be read, DataError for a prompt that does not fit it.
    """
    source, sampling = _source(model)
    limit = max_tokens or sampling.response_tokens.high
    sampling = sampling.model_copy(
        update={
            "response_tokens": TokenRange(low=limit, high=limit),
            "temperature": temperature or sampling.temperature,
        }
    )
    loaded = load_policy_model(source, None)
    precision = choose("auto", "auto")
    policy = frozen_policy(loaded.model, precision)
    lm = policy.model.lm
    found = tokenize_prompts(loaded.tokenizer, [prompt], length=None, seed=0)
    if not len(found):
        raise ModelError("the prompt has no tokens", "give some text to continue")
    check_context(found, limit, lm, origin="--prompt")
    asked = found.pick([0] * samples).to(precision.device)
    settle_reading(policy, asked, limit)
    generator = torch.Generator().manual_seed(seed_for(seed, "generate"))
    limits, uniforms = draw_responses(samples, sampling.response_tokens, generator)
    engine = make_engine(policy, sampling, stop_ids(lm, loaded.tokenizer))
    with torch.no_grad(), precision.active():
        made = engine.generate(asked, limits.to(precision.device), uniforms.to(precision.device))
    rows = [row[:n] for row, n in zip(made.ids.tolist(), made.lengths.tolist(), strict=True)]
    return decoder(loaded.tokenizer)([found.ids[0]] * samples, rows)


def _source(model: str) -> tuple[str, Sampling]:
    """The model to load and how to sample: a run's result and settings, or the model itself and the defaults."""
    folder = Path(model)
    default = Sampling(response_tokens=TokenRange(low=DEFAULT_TOKENS, high=DEFAULT_TOKENS))
    if not (folder / "config.yaml").exists():
        return model, default
    run = RunDir(folder)
    config = run.config()
    if isinstance(config, RewardConfig):
        raise ModelError(f"{folder} is a reward model: it scores texts and writes none", "give a run of sft or ppo")
    if not (run.model / "config.json").exists():
        raise ModelError(f"{folder} has no result yet", "let it finish, or give a model folder")
    return str(run.model), config.sampling if isinstance(config, PpoConfig) else default
