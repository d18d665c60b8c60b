"""What a model writes after a prompt, with the engine that PPO uses."""

from pathlib import Path

import torch

from appliance.config import PpoConfig, RewardConfig, SftConfig
from appliance.config.base import TokenRange
from appliance.config.ppo import Sampling
from appliance.engines._choice import make_engine
from appliance.errors import ModelError
from appliance.models.build import frozen_policy
from appliance.models.loading import Loaded, load_policy_model
from appliance.models.precision import Precision, choose
from appliance.models.start import load_start
from appliance.models.tokens import check_context, decoder, stop_ids, tokenize_prompts
from appliance.ppo.feed import draw_responses, seed_for
from appliance.ppo.invariants import settle_reading
from appliance.ppo.types import Engine
from appliance.store.rundir import RunDir

DEFAULT_TOKENS = 64


class Writer:
    """A model that was loaded once and continues texts, as often as it is asked."""

    def __init__(self, loaded: Loaded, sampling: Sampling, precision: Precision) -> None:
        self.tokenizer, self.sampling, self.precision = loaded.tokenizer, sampling, precision
        self.policy = frozen_policy(loaded.model, precision)
        self.lm = self.policy.model.lm
        self.decode = decoder(loaded.tokenizer, self.lm)
        self.engine: Engine | None = None

    def write(self, prompt: str, *, samples: int, seed: int, most: int | None = None) -> list[str]:
        """`samples` continuations of `prompt`; with `most`, only the first tokens of what they would be.

        Raises ModelError for a prompt without tokens, DataError for one that does not fit the model.
        """
        found = tokenize_prompts(self.tokenizer, [prompt], length=None, seed=0)
        if not len(found):
            raise ModelError("the prompt has no tokens", "give some text to continue")
        limit = self.sampling.response_tokens.high
        check_context(found, limit, self.lm, origin="--prompt")
        device = self.precision.device
        asked = found.pick([0] * samples).to(device)
        if self.engine is None:  # how the model is read is settled with the first prompt
            settle_reading(self.policy, asked, limit)
            self.engine = make_engine(self.policy, self.sampling, stop_ids(self.lm, self.tokenizer))
        generator = torch.Generator().manual_seed(seed_for(seed, "generate"))
        limits, uniforms = draw_responses(samples, self.sampling.response_tokens, generator)
        if most is not None:
            limits = limits.clamp(max=most)
        with torch.no_grad(), self.precision.active():
            made = self.engine.generate(asked, limits.to(device), uniforms.to(device))
        rows = [row[:n] for row, n in zip(made.ids.tolist(), made.lengths.tolist(), strict=True)]
        return self.decode([found.ids[0]] * samples, rows)


def generate(
    model: str, prompt: str, *, samples: int, max_tokens: int | None, temperature: float | None, seed: int
) -> list[str]:
    """`samples` texts, `prompt` with what follows it; a run's result is sampled as its config says unless told otherwise.

    An encoder-decoder's texts are its answers alone, which go on from no prompt.
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
    writer = Writer(load_policy_model(source, None), sampling, choose("auto", "auto"))
    answers = writer.write(prompt, samples=samples, seed=seed)
    return answers if writer.policy.seq2seq else [prompt + answer for answer in answers]


def both_sides(run: RunDir) -> dict[str, Writer]:
    """The starting model of a finished run as `before` and its result as `after`, both sampled as its config says.

    Raises ModelError when either cannot be read.
    """
    config = run.config()
    source, sampling = _source(str(run.path))
    precision = choose(config.device, config.compute)
    if isinstance(config, PpoConfig):
        start = load_start(config.policy, precision)
    else:
        assert isinstance(config, SftConfig)
        start = load_policy_model(config.policy.model, config.policy.revision)
    limit = sampling.response_tokens.high
    sampling = sampling.model_copy(update={"response_tokens": TokenRange(low=limit, high=limit)})
    result = load_policy_model(source, None, dtype=start.model.dtype)
    return {"before": Writer(start, sampling, precision), "after": Writer(result, sampling, precision)}


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
