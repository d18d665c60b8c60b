"""trlX's TRLConfig for PPO: YAML as `TRLConfig.load_yaml` reads it. Defaults are those of its 0.7 and of default_ppo_config."""

import math
from typing import Any

from appliance.config.importers._mapping import (
    Framework,
    Given,
    NoCounterpart,
    Ours,
    flat,
    folder_name,
    made,
    nothing,
    over,
    refuse,
    same,
    share_of,
    whole,
)

TRACKED = "trlX only reports it to its tracker"
UNTRAINED = "it changes the distribution that is sampled from but not the one that is trained"
LORA_NAMES = {"r": "rank", "lora_r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout"}
LONG = 10
"""A cosine over this many times the run's steps hardly moves: the learning rate is constant."""


def _optimizer_steps(given: Given) -> float:
    """Optimizer steps in one of our steps: trlX counts the former."""
    return float(given["method.ppo_epochs"]) * float(given["method.num_rollouts"]) / float(given["train.batch_size"])


def _count(ours: str) -> Any:
    def count(value: Any, given: Given) -> Ours:
        return {ours: over(value, _optimizer_steps(given))}

    return count


def _train(value: Any, given: Given) -> Ours:
    """Adapters, the last layers, or everything: what is not frozen."""
    layers = whole(value)
    if any(key.startswith(("model.peft_config.", "model.delta_kwargs.")) for key in given):
        found: Ours = {"policy.train": "lora"}
        if layers > 0 and any(key.startswith("model.delta_kwargs.") for key in given):
            found["policy.lora.last_layers"] = layers
        return found
    if layers == 0:
        raise NoCounterpart("0 freezes every layer; policy.train: top_layers needs at least 1")
    return {"policy.train": "top_layers", "policy.top_layers": layers} if layers > 0 else {"policy.train": "full"}


def _kind(value: Any, given: Given) -> Ours:
    if str(value).rpartition(".")[2].upper() != "LORA":
        raise NoCounterpart(f"{value!r} is not offered; adapters are LoRA")
    return {"policy.train": "lora"}


def _lora(name: str) -> Any:
    def option(value: Any, given: Given) -> Ours:
        return {f"policy.lora.{LORA_NAMES[name]}": value}

    return option


def _targets(value: Any, given: Given) -> Ours:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise NoCounterpart(f"{value!r} is not a list of module names; peft's choice for the architecture stands")
    return {"policy.lora.targets": value}


def _schedule(value: Any, given: Given) -> Ours:
    if value not in ("cosine_annealing", "linear"):
        raise NoCounterpart(f"{value!r} is not offered; the learning rate is constant")
    if value == "linear":
        return {"optimizer.schedule": "linear"}
    end = float(given.get("scheduler.kwargs.eta_min", 0.0))
    period = float(given.get("scheduler.kwargs.T_max", 0)) or float(given["train.total_steps"])
    if period >= LONG * float(given["train.total_steps"]):
        return {"optimizer.schedule": "constant"}
    return {
        "optimizer.schedule": "cosine",
        "optimizer.final_share": share_of(end, float(given["optimizer.kwargs.lr"])),
    }


def _adamw(value: Any, given: Given) -> Ours:
    if str(value).lower() not in ("adamw", "adam", "adamw_8bit_bnb", "adam_8bit_bnb"):
        raise NoCounterpart(f"{value!r} is not offered; AdamW is used")
    return {}


def _target(value: Any, given: Given) -> Ours:
    return {"kl.adaptive": False} if value is None else {"kl.adaptive": True, "kl.target_nats_per_sequence": value}


def _scale(value: Any, given: Given) -> Ours:
    if value == "ref":
        raise NoCounterpart("ref divides by the starting policy's std; `appliance train reward` does so in the model")
    return {"scores.scale": "running" if value == "running" else "none"}


def _length(value: Any, given: Given) -> Ours:
    return {"sampling.response_tokens": [whole(value), whole(value)]}


def _sampled(value: Any, given: Given) -> Ours:
    if value is False:
        raise NoCounterpart("PPO samples; it does not take the most likely token")
    return {}


def _experience(ours: str) -> Any:
    def option(value: Any, given: Given) -> Ours:
        return {ours: [whole(value), whole(value)] if ours == "sampling.response_tokens" else value}

    return option


def _trackers(value: Any, given: Given) -> Ours:
    if value is None:
        return {"trackers": []}
    if value not in ("wandb", "tensorboard"):
        raise NoCounterpart(f"the tracker {value!r} is not one of ours: tensorboard, wandb, mlflow")
    return {"trackers": [value]}


def _microbatch(value: Any, given: Given) -> Ours:
    return {} if value is None else {"batch.microbatch": whole(value)}


def _reward_clip(value: Any, given: Given) -> Ours:
    return {"scores.clip": value or None}


def _horizon(value: Any, given: Given) -> Ours:
    return {"kl.horizon_sequences": whole(value)}


_GENERATION = {"top_k": "sampling.top_k", "top_p": "sampling.top_p", "temperature": "sampling.temperature"}

PPO = Framework(
    "trlX, TRLConfig with method PPOConfig",
    rows={
        "model.model_path": same("policy.model"),
        "model.num_layers_unfrozen": made(
            "policy.train", "policy.top_layers", "policy.lora.last_layers", note="-1: full", by=_train, default=-1
        ),
        "model.peft_config.peft_type": made("policy.train", note="LORA", by=_kind),
        "model.peft_config.r": made("policy.lora.rank", note="", by=_lora("r")),
        "model.peft_config.lora_alpha": made("policy.lora.alpha", note="", by=_lora("lora_alpha")),
        "model.peft_config.lora_dropout": made("policy.lora.dropout", note="PPO uses none", by=_lora("lora_dropout")),
        "model.peft_config.target_modules": made("policy.lora.targets", note="a list of names", by=_targets),
        "model.delta_kwargs.delta_type": made("policy.train", note="lora", by=_kind),
        "model.delta_kwargs.lora_r": made("policy.lora.rank", note="", by=_lora("lora_r")),
        "model.delta_kwargs.lora_alpha": made("policy.lora.alpha", note="", by=_lora("lora_alpha")),
        "model.delta_kwargs.lora_dropout": made("policy.lora.dropout", note="PPO uses none", by=_lora("lora_dropout")),
        "model.delta_kwargs.modified_modules": made("policy.lora.targets", note="a list of names", by=_targets),
        "optimizer.name": made("optimizer", note="AdamW", by=_adamw, default="adamw"),
        "optimizer.kwargs.lr": same("optimizer.learning_rate", default=3e-5),
        "optimizer.kwargs.betas": same("optimizer.betas", default=[0.9, 0.95]),
        "optimizer.kwargs.eps": same("optimizer.eps", default=1e-8),
        "optimizer.kwargs.weight_decay": same("optimizer.weight_decay", default=1e-6),
        "scheduler.name": made(
            "optimizer.schedule",
            "optimizer.final_share",
            note="constant where T_max is ten times total_steps",
            by=_schedule,
            default="cosine_annealing",
        ),
        "scheduler.kwargs.T_max": made(
            "optimizer.schedule", note="else it is the run", by=lambda value, given: {}, default=1e12
        ),
        "scheduler.kwargs.eta_min": made(
            "optimizer.final_share", note="divided by lr", by=lambda value, given: {}, default=3e-5
        ),
        "train.total_steps": made(
            "batch.steps",
            note="optimizer steps: divided by those of a rollout",
            by=_count("batch.steps"),
            default=10000,
        ),
        "train.batch_size": same("batch.minibatch", default=32),
        "train.minibatch_size": made("batch.microbatch", note="if it is set", by=_microbatch),
        "train.checkpoint_interval": made(
            "checkpoint.every_steps", note="as total_steps", by=_count("checkpoint.every_steps"), default=10000
        ),
        "train.eval_interval": made(
            "evaluation.every_steps", note="as total_steps", by=_count("evaluation.every_steps"), default=100
        ),
        "train.tracker": made("trackers", note="as a list", by=_trackers),
        "train.seed": same("seed", default=1000),
        "method.num_rollouts": same("batch.rollout", default=128),
        "method.ppo_epochs": same("ppo.epochs", default=4),
        "method.init_kl_coef": same("kl.coef", default=0.001),
        "method.target": made(
            "kl.target_nats_per_sequence", "kl.adaptive", note="none: not adaptive", by=_target, default=None
        ),
        "method.horizon": made("kl.horizon_sequences", note="as a whole number", by=_horizon, default=10000),
        "method.gamma": same("ppo.gamma", default=1),
        "method.lam": same("ppo.lam", default=0.95),
        "method.cliprange": same("ppo.clip", default=0.2),
        "method.cliprange_value": same("ppo.value_clip", default=0.2),
        "method.vf_coef": same("ppo.value_coef", default=1),
        "method.scale_reward": made("scores.scale", note="running; ignored: none", by=_scale, default="ignored"),
        "method.cliprange_reward": made("scores.clip", note="0: none", by=_reward_clip, default=10),
        "method.gen_kwargs.max_new_tokens": made(
            "sampling.response_tokens", note="the same limit for each response", by=_length, default=40
        ),
        "method.gen_kwargs.do_sample": made("sampling", note="always sampled", by=_sampled),
        **{f"method.gen_kwargs.{key}": same(ours) for key, ours in _GENERATION.items()},
        "method.gen_experience_kwargs.max_new_tokens": made(
            "sampling.response_tokens", note="replaces that of gen_kwargs", by=_experience("sampling.response_tokens")
        ),
        "method.gen_experience_kwargs.do_sample": made("sampling", note="always sampled", by=_sampled),
        **{
            f"method.gen_experience_kwargs.{key}": made(ours, note="replaces that of gen_kwargs", by=_experience(ours))
            for key, ours in _GENERATION.items()
        },
        "train.run_name": made("name", note="what a folder's name may hold", by=folder_name),
        "method.name": nothing("the method is PPO"),
        "method.chunk_size": nothing("the rollout is sampled at once, and halved when memory runs out"),
        "method.ref_mean": nothing("only used with scale_reward: ref"),
        "method.ref_std": nothing("only used with scale_reward: ref"),
        "method.num_value_layers_unfrozen": nothing("critic.kind is value_head, or a separate model"),
        "method.gen_kwargs.num_return_sequences": nothing("evaluation.samples, for the prompts scored during training"),
        "method.gen_kwargs.*": nothing(UNTRAINED),
        "method.gen_experience_kwargs": nothing("only used where it is set"),
        "method.gen_experience_kwargs.*": nothing(UNTRAINED),
        "model.model_arch_type": nothing("read from the model's own config"),
        "model.peft_config": nothing("only used where it is set"),
        "model.peft_config.*": nothing("adapters have rank, alpha, dropout, targets and last_layers"),
        "model.delta_kwargs": nothing("only used where it is set"),
        "model.delta_kwargs.*": nothing("adapters have rank, alpha, dropout, targets and last_layers"),
        "model.model_extra_configs": nothing("the model is read as its folder says"),
        "model.model_extra_configs.*": nothing("the model is read as its folder says"),
        "tokenizer.tokenizer_path": nothing("the tokenizer in the policy's own folder is used"),
        "tokenizer.padding_side": nothing("prompts are padded on the left and masked"),
        "tokenizer.truncation_side": nothing("prompts are not cut; too long ones are refused"),
        "tokenizer.tokenizer_extra_configs": nothing("the tokenizer in the policy's own folder is used"),
        "tokenizer.tokenizer_extra_configs.*": nothing("the tokenizer in the policy's own folder is used"),
        "scheduler.kwargs.*": nothing("the schedule has no more settings than optimizer's"),
        "optimizer.kwargs.*": nothing("AdamW of torch"),
        "train.seq_length": nothing("the model's own context is checked"),
        "train.epochs": nothing("batch.steps counts the rollouts"),
        "train.pipeline": nothing("prompts.source names the prompts"),
        "train.trainer": nothing("stage: ppo"),
        "train.orchestrator": nothing("stage: ppo"),
        "train.trainer_kwargs": nothing("stage: ppo"),
        "train.trainer_kwargs.*": nothing("stage: ppo"),
        "train.project_name": nothing(TRACKED),
        "train.entity_name": nothing(TRACKED),
        "train.group_name": nothing(TRACKED),
        "train.tags": nothing(TRACKED),
        "train.checkpoint_dir": nothing("a run is a folder below APPLIANCE_DATA"),
        "train.rollout_logging_dir": nothing("a run is a folder below APPLIANCE_DATA"),
        "train.logging_dir": nothing("a run is a folder below APPLIANCE_DATA"),
        "train.save_best": nothing("the best is always kept; checkpoint.result says which becomes the result"),
        "train.save_optimizer": nothing("a checkpoint holds everything"),
        "train.resume_from_checkpoint": nothing("`--resume` goes on exactly where the run stopped"),
    },
    always={
        "critic.kind": ("value_head", "a head on the policy's trunk"),
        "ppo.whiten_advantages": (True, "advantages are whitened"),
        "kl.estimator": ("k1", "the difference of log-probabilities"),
    },
    choose={
        "reward.source": ("trained", "trlX takes the reward from the script's reward_fn"),
        "reward.model": ("reward-model", "a reward model's folder"),
        "prompts.source": ("prompts.jsonl", "trlX takes the prompts from the script"),
    },
)

FRAMEWORKS = (PPO,)


def settings(documents: list[dict[str, Any]]) -> tuple[Framework, dict[str, Any]]:
    """The settings of a TRLConfig. Raises ConfigError for another method than PPO, or a file of another form."""
    if len(documents) != 1:
        raise refuse(f"a trlX config is one file, not {len(documents)}")
    given = flat(documents[0])
    if not any(key.startswith("method.") for key in given):
        raise refuse("this is no TRLConfig: it has no section `method`")
    name = str(given.get("method.name", "PPOConfig"))
    if name.lower() != "ppoconfig":
        raise refuse(f"method.name is {name!r}; only PPOConfig has a counterpart")
    if not math.isfinite(float(given.get("train.total_steps", 1))):
        raise refuse("train.total_steps is not a number")
    return PPO, given
