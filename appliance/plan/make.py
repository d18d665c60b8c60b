"""A plan made from a config: find the models' sizes, work out the phases, and say what fits."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from appliance.config import PpoConfig, RewardConfig, SftConfig
from appliance.config.base import StageConfig
from appliance.plan import files
from appliance.plan.files import Found
from appliance.plan.parts import GIB, Phase, Plan, room_gib
from appliance.plan.ppo import AT_A_TIME, Ppo
from appliance.plan.standing import Reward, trunk
from appliance.plan.trl import Training

CUDA_GIB, CPU_GIB = 0.8, 1.0
"""Beside the tensors: the CUDA context with its libraries' kernels; Python with torch and transformers."""

TOKENS_PER_WORD, CHARACTERS_PER_TOKEN = 1.5, 3.0
"""For prompts whose length the config does not give in tokens: English is at about 1.3 and 4."""

USUAL_PROMPT = 512
"""Tokens, where nothing in the config limits the prompts."""


def plan(config: StageConfig, *, device_gib: float | None = None, compute: str = "auto", cuda: bool = True) -> Plan:
    """What `config` takes on a device with `device_gib`, or on one of unknown size.

    `compute` is fp32, bf16, or auto: the config's own, which where it is auto too means bf16 on a GPU and fp32 on a CPU.
    Loads no model and asks no network: a model that is not on this disk is looked up in a small table, else the plan has
    no phases and says of which model it knows nothing.
    """
    chosen = compute if compute != "auto" else config.compute
    bf16 = chosen == "bf16" or (chosen == "auto" and cuda)
    empty = Plan("GPU" if cuda else "RAM", device_gib)
    if isinstance(config, PpoConfig):
        return _of_ppo(config, empty, cuda=cuda, bf16=bf16)
    if isinstance(config, SftConfig | RewardConfig):
        return _of_training(config, empty, cuda=cuda, bf16=bf16)
    raise TypeError(f"no plan for {type(config).__name__}")


def fits_line(made: Plan) -> str:
    """One line for a page: `fits: 31 of 80 GiB`, `does not fit: 96 of 80 GiB; ...`, or what is unknown."""
    if made.peak is None or made.peak_gib is None:
        return f"memory unknown: {made.unknown[0]}" if made.unknown else "memory unknown"
    taken = f"{made.peak_gib:.1f}" if made.peak_gib < 10 else f"{made.peak_gib:.0f}"
    if made.device_gib is None:
        return f"takes {taken} GiB of {made.device} ({made.peak.name})"
    share = f"{taken} of {made.device_gib:.0f} GiB"
    if made.fits:
        return f"fits: {share}"
    if made.largest_microbatch is None or made.largest_microbatch >= made.microbatch:
        return f"does not fit: {share} in {made.peak.name}"
    return f"does not fit: {share}; {made.key} {made.largest_microbatch} would"


def _of_ppo(config: PpoConfig, empty: Plan, *, cuda: bool, bf16: bool) -> Plan:
    policy = files.find(config.policy.model, config.policy.revision)
    critic = files.find(config.critic.model) if config.critic.model else None
    scorers = [(section, files.find(str(section["model"]), section.get("revision"))) for section in _scorers(config)]
    found = [policy, *([critic] if critic else []), *(one for _, one in scorers)]
    missing = [one for one in (policy, critic) if one is not None and one.shape is None]
    missing += [one for _, one in scorers if one.shape is None and one.weights is None]
    if missing or policy.shape is None:
        return replace(empty, models=_models(found), unknown=_explained(missing))
    prompt = _prompt_tokens(config, policy)
    notes: list[str] = []
    if isinstance(prompt, str):
        notes.append(prompt)
        prompt = USUAL_PROMPT
    limit = policy.shape.limit_tokens
    if limit is not None:
        prompt = max(1, min(prompt, limit - config.sampling.response_tokens.high))
    run = Ppo(
        config,
        policy.shape,
        cuda=cuda,
        bf16=bf16,
        prompt=prompt,
        critic=critic.shape if critic is not None else None,
        rewards=tuple(_reward(section, one) for section, one in scorers),
        adapter=_adapter(config),
        runtime=(CUDA_GIB if cuda else CPU_GIB) * GIB,
    )
    run, more = _halved(run, empty.device_gib)
    notes += more
    micro = config.batch.microbatch
    return replace(
        empty,
        phases=tuple(run.phases(micro)),
        microbatch=micro,
        largest_microbatch=_largest(run.update, config.batch.minibatch, empty.device_gib),
        models=_models(found),
        trainable=run.trainable,
        everything=run.everything,
        notes=(f"the longest prompt is taken as {prompt} tokens, the longest response as {run.response}", *notes),
    )


def _of_training(config: SftConfig | RewardConfig, empty: Plan, *, cuda: bool, bf16: bool) -> Plan:
    source = config.policy if isinstance(config, SftConfig) else config.model
    found = files.find(source.model, source.revision)
    if found.shape is None:
        return replace(empty, models=_models([found]), key="training.microbatch", unknown=_explained([found]))
    shape = found.shape
    if isinstance(config, RewardConfig) and not shape.counted and not shape.kind.classifier:
        shape = replace(shape, counted=trunk(shape))  # the language model's head is not loaded
    run = Training(config, shape, cuda=cuda, bf16=bf16, runtime=(CUDA_GIB if cuda else CPU_GIB) * GIB)
    training = config.training
    return replace(
        empty,
        phases=run.phases(training.microbatch),
        microbatch=training.microbatch,
        largest_microbatch=_largest(run.update, training.batch, empty.device_gib),
        key="training.microbatch",
        models=_models([found]),
        trainable=run.trainable,
        everything=run.everything,
        notes=(f"every text is taken as {training.max_length_tokens} tokens (training.max_length_tokens)",),
    )


def _largest(update: Callable[[int], Phase], whole: int, device_gib: float | None) -> int | None:
    """The largest divisor of `whole` sequences whose update fits."""
    if device_gib is None:
        return None
    divisors = (size for size in range(whole, 0, -1) if whole % size == 0)
    return next((size for size in divisors if update(size).total_gib <= room_gib(device_gib)), None)


def _halved(run: Ppo, device_gib: float | None) -> tuple[Ppo, list[str]]:
    """The run with as many rows at a time as fit in generation and reading: it halves them itself when memory runs out."""
    if device_gib is None:
        return run, []
    notes = []
    whole = run.config.batch.rollout
    for phase, most in (
        ("generate", whole),
        ("evaluate", whole),
        ("report", AT_A_TIME),
    ):
        rows = most
        while rows > 1 and getattr(run.at_a_time(phase, rows), phase)().total_gib > room_gib(device_gib):
            rows = (rows + 1) // 2
        if rows < most:
            notes.append(f"{phase} takes {rows} of {most} responses at a time: the run halves them by itself")
            run = run.at_a_time(phase, rows)
    return run, notes


def _scorers(config: PpoConfig) -> Iterator[dict[str, Any]]:
    """Every section of the reward sources that names a model which runs here, those of a blend too."""
    pending: list[Any] = [config.reward, config.evaluation.second_opinion]
    while pending:
        section = pending.pop(0)
        if isinstance(section, dict):
            if isinstance(section.get("model"), str) and section.get("source") != "http":
                yield section
            pending += section.values()
        elif isinstance(section, list | tuple):
            pending += section


def _reward(section: dict[str, Any], found: Found) -> Reward:
    weights = found.weights or (found.shape.parameters if found.shape is not None else 0)
    if found.shape is not None and not found.weights and not found.shape.kind.classifier:
        weights = trunk(found.shape)
    return Reward(found.shape, weights, int(section.get("microbatch") or 64), section.get("max_length_tokens"))


def _prompt_tokens(config: PpoConfig, policy: Found) -> int | str:
    """The most tokens of a prompt as the config bounds them, or what to note where it does not."""
    prompts = config.prompts
    in_tokens = [one.high for one in (prompts.length_tokens, prompts.keep_tokens) if one is not None]
    if in_tokens:
        return min(in_tokens)
    if prompts.template is None and prompts.first_words is not None:
        return max(1, round(prompts.first_words * TOKENS_PER_WORD))
    if prompts.max_characters is not None:
        return round((prompts.max_characters + len(prompts.template or "")) / CHARACTERS_PER_TOKEN)
    return (
        "nothing in the config bounds the prompts: set prompts.keep_tokens, or prompts.length_tokens, for a better plan"
    )


def _adapter(config: PpoConfig) -> int | None:
    if config.policy.adapter is None:
        return None
    folder = Path(config.policy.adapter).expanduser()
    inner = folder / "adapter"
    return files.weights(inner if (inner / "adapter_config.json").exists() else folder)


def _models(found: list[Found]) -> tuple[tuple[str, str, int], ...]:
    listed = {
        one.model: (one.model, one.source, one.weights or (one.shape.parameters if one.shape else 0)) for one in found
    }
    return tuple(listed.values())


def _explained(missing: list[Found]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{one.model}: {one.source}" for one in missing))
