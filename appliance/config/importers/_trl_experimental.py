"""TRL from 0.12 on: PPOConfig of the second PPOTrainer, in trl.experimental.ppo at last. Defaults are those of 1.12."""

from typing import Any

from appliance.config.importers._mapping import (
    Framework,
    Given,
    NoCounterpart,
    Ours,
    folder_name,
    made,
    nothing,
    over,
    same,
    share_of,
    whole,
)
from appliance.config.importers._trl_arguments import ARGUMENTS

SCHEDULES = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant",
    "constant_with_warmup": "constant",
}
TRACKERS = ("tensorboard", "wandb", "mlflow")
DERIVED = "TRL computes it from other settings"
HIDDEN = "<STOP_TOKEN>"
"""What transformers' to_dict makes of any setting of this name, set or not."""


def _rollout(given: Given) -> int:
    return whole(given["per_device_train_batch_size"]) * whole(given["gradient_accumulation_steps"])


def _batches(value: Any, given: Given) -> Ours:
    """Rollout, minibatch and microbatch: TRL counts the forwards, ours the sequences."""
    rollout = _rollout(given)
    minibatch = max(1, rollout // whole(given["num_mini_batches"]))
    return {
        "batch.rollout": rollout,
        "batch.minibatch": minibatch,
        "batch.microbatch": min(whole(value), minibatch),
    }


def _steps(given: Given) -> int:
    if given.get("total_episodes") is None:
        raise NoCounterpart("none: TRL counts epochs over a data set that the file does not show; batch.steps stands")
    return over(given["total_episodes"], _rollout(given))


def _warmup(value: Any, given: Given) -> Ours:
    if not value:
        return {"optimizer.warmup_share": 0.0}
    return {"optimizer.warmup_share": float(value) if value < 1 else share_of(float(value), _steps(given))}


def _schedule(value: Any, given: Given) -> Ours:
    kind = str(value).rpartition(".")[2].lower()
    if kind not in SCHEDULES:
        raise NoCounterpart(f"{kind!r} is not offered; optimizer.schedule stands at linear")
    return {"optimizer.schedule": SCHEDULES[kind]}


def _stops(given: Given) -> bool | None:
    """Whether a response ends at the end token; None where the file does not say it."""
    if given["stop_token"] != HIDDEN:
        return bool(given["stop_token"] == "eos")
    return True if given.get("missing_eos_penalty") is not None else None


def _stop(value: Any, given: Given) -> Ours:
    stops = _stops(given)
    if stops is None:
        raise NoCounterpart(
            "to_dict hides it for its name ends in _token; true stands: set sampling.stop_at_eos: false if it was none"
        )
    return {"sampling.stop_at_eos": stops}


def _stop_id(value: Any, given: Given) -> Ours:
    if value is not None:
        raise NoCounterpart(
            "a response ends at the model's own end tokens; set sampling.stop_at_eos: true if it is one"
        )
    return {}


def _missing_eos(value: Any, given: Given) -> Ours:
    if value is None:
        return {"scores.missing_eos": "off"}
    if not _stops(given):
        raise NoCounterpart("it goes with stop_token: eos, for else no response ends by itself")
    return {"scores.missing_eos": "subtract", "scores.missing_eos_penalty": value}


def _compute(value: Any, given: Given) -> Ours:
    return {"compute": "bf16" if value else "fp32"} if value is not None else {"compute": "auto"}


def _trackers(value: Any, given: Given) -> Ours:
    wanted = [value] if isinstance(value, str) else list(value or [])
    unknown = [name for name in wanted if name not in (*TRACKERS, "none", "all")]
    if unknown:
        raise NoCounterpart(f"{', '.join(map(str, unknown))}: ours are {', '.join(TRACKERS)}")
    return {"trackers": [name for name in wanted if name in TRACKERS]}


def _every(section: str) -> Any:
    def every(value: Any, given: Given) -> Ours:
        if value is None:
            return {}
        return {f"{section}.every_steps": whole(value) if value >= 1 else over(float(value) * _steps(given), 1)}

    return every


def _keep(value: Any, given: Given) -> Ours:
    return {} if value is None else {"checkpoint.keep": whole(value)}


EXPERIMENTAL = Framework(
    "TRL 1.x, the experimental PPOConfig",
    rows={
        "run_name": made("name", note="what a folder's name may hold", by=folder_name),
        "seed": same("seed", default=42),
        "sft_model_path": same("policy.model", default="EleutherAI/pythia-160m"),
        "reward_model_path": made(
            "reward.source",
            "reward.model",
            "critic.kind",
            "critic.model",
            note="the reward, and where the separate critic starts",
            by=lambda value, given: {
                "reward.source": "trained",
                "reward.model": value,
                "critic.kind": "separate",
                "critic.model": value,
            },
            default="EleutherAI/pythia-160m",
        ),
        "per_device_train_batch_size": made(
            "batch.microbatch",
            "batch.rollout",
            "batch.minibatch",
            note="times gradient_accumulation_steps is the rollout",
            by=_batches,
            default=8,
        ),
        "gradient_accumulation_steps": made(
            "batch.rollout", note="times per_device_train_batch_size", by=lambda value, given: {}, default=1
        ),
        "num_mini_batches": made(
            "batch.minibatch", note="the rollout divided by it", by=lambda value, given: {}, default=1
        ),
        "total_episodes": made(
            "batch.steps",
            note="divided by the rollout, rounded up",
            by=lambda value, given: {"batch.steps": _steps(given)},
            default=None,
        ),
        "num_ppo_epochs": same("ppo.epochs", default=4),
        "learning_rate": same("optimizer.learning_rate", default=3e-6),
        "lr_scheduler_type": made(
            "optimizer.schedule", note="linear, cosine, constant", by=_schedule, default="linear"
        ),
        "warmup_steps": made("optimizer.warmup_share", note="as a share of the steps", by=_warmup, default=0),
        "warmup_ratio": made(
            "optimizer.warmup_share",
            note="TrainingArguments before transformers 5",
            by=lambda value, given: {"optimizer.warmup_share": value} if value else {},
        ),
        "weight_decay": same("optimizer.weight_decay", default=0.0),
        "adam_beta1": made(
            "optimizer.betas",
            note="with adam_beta2",
            by=lambda value, given: {"optimizer.betas": [value, given["adam_beta2"]]},
            default=0.9,
        ),
        "adam_beta2": made("optimizer.betas", note="with adam_beta1", by=lambda value, given: {}, default=0.999),
        "adam_epsilon": same("optimizer.eps", default=1e-8),
        "max_grad_norm": same("optimizer.max_grad_norm", note="TRL's PPO does not read it, ours does", default=1.0),
        "kl_coef": same("kl.coef", default=0.05),
        "kl_estimator": same("kl.estimator", default="k1"),
        "gamma": same("ppo.gamma", default=1.0),
        "lam": same("ppo.lam", default=0.95),
        "cliprange": same("ppo.clip", default=0.2),
        "cliprange_value": same("ppo.value_clip", default=0.2),
        "vf_coef": same("ppo.value_coef", default=0.1),
        "whiten_rewards": same("scores.whiten_rewards", default=False),
        "response_length": made(
            "sampling.response_tokens",
            note="the same limit for each response",
            by=lambda value, given: {"sampling.response_tokens": [value, value]},
            default=53,
        ),
        "stop_token": made("sampling.stop_at_eos", note="eos: true; none: false", by=_stop, default=None),
        "stop_token_id": made("sampling.stop_at_eos", note="only where it is not set", by=_stop_id, default=None),
        "temperature": same("sampling.temperature", default=0.7),
        "missing_eos_penalty": made(
            "scores.missing_eos", "scores.missing_eos_penalty", note="subtracted", by=_missing_eos, default=None
        ),
        "bf16": made("compute", note="true: bf16, false: fp32", by=_compute, default=None),
        "use_cpu": made(
            "device",
            note="true: cpu",
            by=lambda value, given: {"device": "cpu" if value else "auto"},
            default=False,
        ),
        "report_to": made("trackers", note="those that we have", by=_trackers),
        "eval_steps": made("evaluation.every_steps", note="a share of the steps as a number", by=_every("evaluation")),
        "save_steps": made("checkpoint.every_steps", note="a share of the steps as a number", by=_every("checkpoint")),
        "save_total_limit": made("checkpoint.keep", note="if it is set", by=_keep),
        "local_rollout_forward_batch_size": nothing("the rollout is read at once, and halved when memory runs out"),
        "num_sample_generations": nothing("evaluation.every_steps says when held-out prompts are answered"),
        "model_adapter_name": nothing("an adapter is a folder, policy.adapter"),
        "ref_adapter_name": nothing("the reference is the policy as it began"),
        "ds3_gather_for_generation": nothing("one process on one machine"),
        "dataset_num_proc": nothing("prompts are read by one process"),
        "world_size": nothing("one process on one machine"),
        "num_total_batches": nothing(DERIVED),
        "micro_batch_size": nothing(DERIVED),
        "local_batch_size": nothing(DERIVED),
        "batch_size": nothing(DERIVED),
        "local_mini_batch_size": nothing(DERIVED),
        "mini_batch_size": nothing(DERIVED),
        **{key: nothing(why) for why, keys in ARGUMENTS.items() for key in keys},
    },
    always={
        "kl.adaptive": (False, "the price of KL stays as it is"),
        "sampling.top_k": (0, "generated with top_k 0"),
        "sampling.top_p": (1.0, "generated with top_p 1"),
        "ppo.whiten_advantages": (True, "advantages are whitened"),
    },
    choose={"prompts.source": ("prompts.jsonl", "the prompts; TRL takes them from the script")},
)
