"""TRL to 0.11: PPOConfig of the classic PPOTrainer. Defaults are those of 0.11.4."""

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
    whole,
)

TRACKED = "TRL only reports it to its tracker"
ESTIMATORS = {"kl": "k1", "abs": "abs", "mse": "k2"}
DERIVED = "TRL computes it from other settings"


def _tracker(value: Any, given: Given) -> Ours:
    if value is None:
        return {"trackers": []}
    if value not in ("wandb", "tensorboard"):
        raise NoCounterpart(f"the tracker {str(value)!r} is not one of ours: tensorboard, wandb, mlflow")
    return {"trackers": [value]}


def _reward(value: Any, given: Given) -> Ours:
    task, colon, model = str(value).rpartition(":")
    if not model:
        raise NoCounterpart("it is empty")
    found: Ours = {"reward.source": "classifier", "reward.model": model}
    return found | ({"reward.label": "POSITIVE"} if colon and task == "sentiment-analysis" else {})


def _estimator(value: Any, given: Given) -> Ours:
    if value not in ESTIMATORS:
        raise NoCounterpart(f"{value!r} sums over the whole vocabulary, which is not offered; k1 stands")
    return {"kl.estimator": ESTIMATORS[value]}


def _early(value: Any, given: Given) -> Ours:
    return {"ppo.stop_kl": round(1.5 * float(given["target_kl"]), 12) if value else None}


def _clip_gradients(value: Any, given: Given) -> Ours:
    if value is None:
        raise NoCounterpart("none: TRL does not clip; ours always does, at optimizer.max_grad_norm 1")
    return {"optimizer.max_grad_norm": value}


def _scaling(value: Any, given: Given) -> Ours:
    return {"scores.scale": "running" if value else "none"}


def _center(value: Any, given: Given) -> Ours:
    return {"scores.center": bool(value) and bool(given["use_score_scaling"])}


def _microbatch(value: Any, given: Given) -> Ours:
    micro = whole(given["forward_batch_size"] or value)
    return {"batch.microbatch": micro, "batch.minibatch": micro * whole(given["gradient_accumulation_steps"])}


CLASSIC = Framework(
    "TRL 0.11, the classic PPOConfig",
    rows={
        "exp_name": made("name", note="what a folder's name may hold", by=folder_name),
        "seed": same("seed", default=0),
        "log_with": made("trackers", note="as a list", by=_tracker, default=None),
        "model_name": same("policy.model", default="gpt2"),
        "is_peft_model": made(
            "policy.train",
            note="true: lora",
            by=lambda value, given: {"policy.train": "lora" if value else "full"},
        ),
        "query_dataset": same("prompts.source", default="stanfordnlp/imdb"),
        "reward_model": made(
            "reward.source",
            "reward.model",
            "reward.label",
            note="sentiment-analysis: the classifier's logit of POSITIVE",
            by=_reward,
            default="sentiment-analysis:lvwerra/distilbert-imdb",
        ),
        "steps": made(
            "batch.steps",
            note="counts samples: divided by batch_size, rounded up",
            by=lambda value, given: {"batch.steps": over(value, given["batch_size"])},
            default=20000,
        ),
        "batch_size": same("batch.rollout", default=128),
        "mini_batch_size": made(
            "batch.microbatch",
            "batch.minibatch",
            note="times gradient_accumulation_steps is the minibatch",
            by=_microbatch,
            default=128,
        ),
        "gradient_accumulation_steps": made(
            "batch.minibatch", note="times mini_batch_size", by=lambda value, given: {}, default=1
        ),
        "forward_batch_size": made(
            "batch.microbatch", note="replaces mini_batch_size", by=lambda value, given: {}, default=None
        ),
        "learning_rate": same("optimizer.learning_rate", default=1.41e-5),
        "max_grad_norm": made(
            "optimizer.max_grad_norm", note="none: TRL does not clip, ours does", by=_clip_gradients, default=None
        ),
        "adap_kl_ctrl": same("kl.adaptive", default=True),
        "init_kl_coef": same("kl.coef", default=0.2),
        "kl_penalty": made("kl.estimator", note="kl: k1, abs: abs, mse: k2", by=_estimator, default="kl"),
        "target": same("kl.target_nats_per_sequence", default=6.0),
        "horizon": made(
            "kl.horizon_sequences",
            note="as a whole number",
            by=lambda value, given: {"kl.horizon_sequences": whole(value)},
            default=10000.0,
        ),
        "gamma": same("ppo.gamma", default=1.0),
        "lam": same("ppo.lam", default=0.95),
        "cliprange": same("ppo.clip", default=0.2),
        "cliprange_value": same("ppo.value_clip", default=0.2),
        "vf_coef": same("ppo.value_coef", default=0.1),
        "ppo_epochs": same("ppo.epochs", default=4),
        "early_stopping": made("ppo.stop_kl", note="1.5 times target_kl, or none", by=_early, default=False),
        "target_kl": made("ppo.stop_kl", note="with early_stopping", by=lambda value, given: {}, default=1.0),
        "ratio_threshold": same("ppo.max_ratio", default=10.0),
        "use_score_scaling": made("scores.scale", note="true: running", by=_scaling, default=False),
        "use_score_norm": made("scores.center", note="with use_score_scaling", by=_center, default=False),
        "score_clip": same("scores.clip", default=None),
        "whiten_rewards": same("scores.whiten_rewards", default=False),
        "task_name": nothing(TRACKED),
        "tracker_project_name": nothing(TRACKED),
        "tracker_kwargs": nothing(TRACKED),
        "tracker_kwargs.*": nothing(TRACKED),
        "accelerator_kwargs": nothing("one process on one machine"),
        "accelerator_kwargs.*": nothing("one process on one machine"),
        "project_kwargs": nothing("a run is a folder below APPLIANCE_DATA"),
        "project_kwargs.*": nothing("a run is a folder below APPLIANCE_DATA"),
        "push_to_hub_if_best_kwargs": nothing("nothing is sent anywhere"),
        "push_to_hub_if_best_kwargs.*": nothing("nothing is sent anywhere"),
        "world_size": nothing("one process on one machine"),
        "remove_unused_columns": nothing("prompts.column names the column"),
        "dataset_num_proc": nothing("prompts are read by one process"),
        "compare_steps": nothing("TRL 0.11 does not read it"),
        "optimize_cuda_cache": nothing("batches are halved when memory runs out"),
        "optimize_device_cache": nothing("batches are halved when memory runs out"),
        "gradient_checkpointing": nothing("lower batch.microbatch instead"),
        "is_encoder_decoder": nothing("read from the model's own config"),
        "backward_batch_size": nothing(DERIVED),
        "global_backward_batch_size": nothing(DERIVED),
        "global_batch_size": nothing(DERIVED),
        "total_ppo_epochs": nothing(DERIVED),
    },
    always={
        "optimizer.betas": ([0.9, 0.999], "torch's Adam as it comes"),
        "optimizer.eps": (1.0e-8, "torch's Adam as it comes"),
        "optimizer.schedule": ("constant", "no schedule of the learning rate"),
        "critic.kind": ("value_head", "AutoModelForCausalLMWithValueHead"),
        "ppo.whiten_advantages": (True, "advantages are whitened"),
    },
)
