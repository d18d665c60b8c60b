"""The settings of NeMo-Aligner's gpt_ppo_actor.yaml and gpt_ppo_critic.yaml, and the rlhf.* of NeMo-RLHF before it."""

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

CLUSTER = "one process on one machine"
MEGATRON = "it belongs to Megatron's own model format; ours are Hugging Face folders"
FOLDER = "a run is a folder below APPLIANCE_DATA"
UNTRAINED = "it changes the distribution that is sampled from but not the one that is trained"
AT_ONCE = "the rollout is sampled and read at once (batch.rollout), and halved when memory runs out"
SERVERS = "policy, reference and critic are in one process; only the reward may be elsewhere"
DERIVED = "NeMo computes it from other settings"


def _steps(value: Any, given: Given) -> Ours:
    if whole(value) < 1:
        raise NoCounterpart(f"{value}: NeMo goes through the whole data set once; batch.steps stands")
    return {"batch.steps": whole(value)}


def _absolute(value: Any, given: Given) -> Ours:
    return {"kl.estimator": "abs" if value else "k1"}


def _length(value: Any, given: Given) -> Ours:
    try:
        return {"sampling.response_tokens": [whole(value), whole(value)]}
    except NoCounterpart:
        raise NoCounterpart(f"{value!r} refers to something that the file does not hold") from None


def _greedy(value: Any, given: Given) -> Ours:
    if value:
        raise NoCounterpart("PPO samples; it does not take the most likely token")
    return {}


def _only(neutral: float, why: str) -> Any:
    def check(value: Any, given: Given) -> Ours:
        if value is not None and value != neutral:
            raise NoCounterpart(why)
        return {}

    return check


def _precision(value: Any, given: Given) -> Ours:
    known = {"bf16": "bf16", "bf16-mixed": "bf16", "32": "fp32", "32-true": "fp32"}
    if str(value) not in known:
        raise NoCounterpart(f"{value!r} is not offered; compute stands at auto")
    return {"compute": known[str(value)]}


def _schedule(value: Any, given: Given) -> Ours:
    known = {"CosineAnnealing": "cosine", "WarmupAnnealing": "linear", "WarmupHoldPolicy": "constant"}
    if value not in known:
        raise NoCounterpart(f"{value!r} is not offered; optimizer.schedule stands at linear")
    return {"optimizer.schedule": known[value]}


def _warmup(value: Any, given: Given) -> Ours:
    steps = next((given[key] for key in ("trainer.ppo.max_steps", "trainer.max_steps") if key in given), -1)
    rollout = next((given[key] for key in ROLLOUTS if key in given), None)
    batch = given.get("model.global_batch_size")
    if not value:
        return {"optimizer.warmup_share": 0.0}
    if not isinstance(steps, int) or steps < 1 or not rollout or not batch:
        raise NoCounterpart(
            "counted in optimizer steps, whose number the file does not say; set optimizer.warmup_share"
        )
    return {"optimizer.warmup_share": share_of(value, steps * over(rollout, batch))}


def _final(value: Any, given: Given) -> Ours:
    return {"optimizer.final_share": share_of(float(value), float(given["model.optim.lr"]))} if value else {}


def _adam(value: Any, given: Given) -> Ours:
    if "adam" not in str(value).lower():
        raise NoCounterpart(f"{value!r} is not offered; AdamW is used")
    return {}


def _clip_gradients(value: Any, given: Given) -> Ours:
    if not value:
        raise NoCounterpart("none: NeMo does not clip; ours always does, at optimizer.max_grad_norm 1")
    return {"optimizer.max_grad_norm": value}


def _model(value: Any, given: Given) -> Ours:
    if value is None:
        raise NoCounterpart("it is empty; policy.model names the starting policy")
    if str(value).endswith(".nemo"):
        raise NoCounterpart("a .nemo file is not read: convert it to Hugging Face's format, and name that folder")
    return {"policy.model": value}


def _prompts(value: Any, given: Given) -> Ours:
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, str):
        raise NoCounterpart("it is empty; prompts.source names the prompts")
    return {"prompts.source": first}


def _server(value: Any, given: Given) -> Ours:
    """The reward model's address: with the critic's server, where NeMo has the two together."""
    place = "remote_critic_rm.reward_model"
    if "remote_critic_rm.critic.ip" in given and given.get("remote_critic_rm.combine_rm_and_critic_server", True):
        place = "remote_critic_rm.critic"
    elif "model.rlhf.reward_model.ip" in given:
        place = "model.rlhf.reward_model"
    host, port = given.get(f"{place}.ip", "localhost"), given.get(f"{place}.port", 5555)
    return {"reward.source": "http", "reward.url": f"http://{host}:{port}/score"}


def _with(what: str, *ours: str) -> Any:
    return made(*ours, note=f"with {what}", by=lambda value, given: {})


def _wandb(value: Any, given: Given) -> Ours:
    return {"trackers": ["wandb"] if value else []}


def _keep(value: Any, given: Given) -> Ours:
    return {"checkpoint.keep": whole(value)} if whole(value) > 0 else {}


def _fixed_kl(value: Any, given: Given) -> Ours:
    return {"kl.coef": value, "kl.adaptive": False}


_KL = made("kl.coef", "kl.adaptive", note="a fixed price", by=_fixed_kl)
_ABSOLUTE = made("kl.estimator", note="true: abs, false: k1", by=_absolute)
_ROLLOUT = same("batch.rollout")
ROLLOUTS = ("model.ppo.num_rollout_samples", "model.rlhf.ppo.num_rollout_samples")

_SAMPLING = {
    "sampling_params.use_greedy": made("sampling", note="always sampled", by=_greedy),
    "sampling_params.temperature": same("sampling.temperature"),
    "sampling_params.top_k": same("sampling.top_k"),
    "sampling_params.top_p": same("sampling.top_p"),
    "sampling_params.repetition_penalty": made("sampling", note="only 1", by=_only(1.0, UNTRAINED)),
    "length_params.max_length": made("sampling.response_tokens", note="the same limit for each response", by=_length),
    "length_params.min_length": made("sampling.response_tokens", note="only 1", by=_only(1, UNTRAINED)),
}

DOCUMENTED = {
    "model.rlhf.reward_model.ip": made(
        "reward.source", "reward.url", note="ours is `appliance serve-reward`", by=_server
    ),
    "model.rlhf.reward_model.port": _with("ip", "reward.url"),
    "model.rlhf.ppo.entropy_penalty": same("ppo.entropy_coef"),
    "model.rlhf.ppo.inital_pollicy_kl_penalty": _KL,
    "model.rlhf.ppo.initial_policy_kl_penalty": _KL,
    "model.rlhf.ppo.use_absolute_kl": _ABSOLUTE,
    "model.rlhf.ppo.epochs": same("ppo.epochs"),
    "model.rlhf.ppo.num_rollout_samples": _ROLLOUT,
    "model.rlhf.ppo.ratio_eps": same("ppo.clip"),
    "model.rlhf.ppo.discount": same("ppo.gamma"),
    "model.rlhf.ppo.gae_lambda": same("ppo.lam"),
    "model.rlhf.ppo.normalize_advantage": same("ppo.whiten_advantages"),
    **{f"model.{key}": row for key, row in _SAMPLING.items()},
    "model.rlhf.ppo.rollout_micro_batch_size": nothing(AT_ONCE),
    "model.rlhf.critic.*": nothing(SERVERS),
    "model.rlhf.initial_policy.*": nothing(SERVERS),
}
"""What NeMo-RLHF's documentation lists: its own spelling of the KL penalty, and the right one."""

_OPTIMIZER: dict[str, Any] = {
    "model.optim.name": made("optimizer", note="AdamW", by=_adam),
    "model.optim.lr": same("optimizer.learning_rate"),
    "model.optim.weight_decay": same("optimizer.weight_decay"),
    "model.optim.betas": same("optimizer.betas"),
    "model.optim.sched.name": made("optimizer.schedule", note="CosineAnnealing: cosine", by=_schedule),
    "model.optim.sched.warmup_steps": made("optimizer.warmup_share", note="as a share of the steps", by=_warmup),
    "model.optim.sched.min_lr": made("optimizer.final_share", note="divided by lr", by=_final),
    "model.optim.sched.constant_steps": nothing("the schedule has no more settings than optimizer's"),
    "model.optim.sched.*": nothing("the schedule has no more settings than optimizer's"),
    "model.optim.*": nothing("AdamW of torch"),
}

_OTHERS = {
    "trainer.ppo.max_epochs": nothing("NeMo takes 1 only"),
    "trainer.ppo.model_gbs": nothing(DERIVED),
    "trainer.ppo.model_mbs": nothing(DERIVED),
    "trainer.ppo.rollout_batch_seq_length": nothing("what is padded is cut to the longest of each microbatch"),
    "trainer.ppo.*": nothing("ours has no such step"),
    "trainer.*": nothing(CLUSTER),
    "remote_critic_rm.*": nothing(SERVERS),
    "exp_manager.*": nothing(FOLDER),
    "pretrained_checkpoint.*": nothing(MEGATRON),
    "defaults": nothing(MEGATRON),
    "hydra.*": nothing(FOLDER),
    "model.ppo.rollout_micro_batch_size": nothing(AT_ONCE),
    "model.ppo.forward_micro_batch_size": nothing(AT_ONCE),
    "model.ppo.val_rollout_micro_batch_size": nothing(AT_ONCE),
    "model.ppo.offload_adam_states": nothing("the optimizer's state stays on the GPU; LoRA makes it small"),
    "model.ppo.sampling_params.*": nothing("a response ends at the model's own end tokens"),
    "model.ppo.length_params.*": nothing("sampling.response_tokens says the limits"),
    "model.ppo.trt_llm.*": nothing("sampling.engine says how to generate"),
    "model.ppo.*": nothing("ours has no such step"),
    "model.sampling_params.*": nothing("a response ends at the model's own end tokens"),
    "model.data.*": nothing("prompts.* says how prompts are read"),
    "model.peft.*": nothing("adapters are policy.lora.*"),
    "model.*": nothing(MEGATRON),
}

ACTOR = Framework(
    "NeMo, the PPO actor (rlhf.*: NeMo-RLHF, the others: NeMo-Aligner)",
    rows={
        **DOCUMENTED,
        "pretrained_checkpoint.restore_from_path": made("policy.model", note="as a Hugging Face folder", by=_model),
        "trainer.ppo.max_steps": made("batch.steps", note="-1: ours stands", by=_steps),
        "trainer.ppo.val_check_interval": same("evaluation.every_steps"),
        "trainer.ppo.save_interval": same("checkpoint.every_steps"),
        "trainer.ppo.gradient_clip_val": made("optimizer.max_grad_norm", note="0: ours clips at 1", by=_clip_gradients),
        "trainer.ppo.initial_policy_kl_penalty": _KL,
        "trainer.ppo.use_absolute_kl": _ABSOLUTE,
        "trainer.ppo.discount_factor": same("ppo.gamma"),
        "trainer.ppo.gae_lambda": same("ppo.lam"),
        "trainer.ppo.normalize_advantages": same("ppo.whiten_advantages"),
        "trainer.precision": made("compute", note="bf16 or 32", by=_precision),
        "remote_critic_rm.reward_model.ip": made(
            "reward.source", "reward.url", note="ours is `appliance serve-reward`", by=_server
        ),
        "remote_critic_rm.reward_model.port": _with("ip", "reward.url"),
        "remote_critic_rm.combine_rm_and_critic_server": _with("critic.ip", "reward.url"),
        "remote_critic_rm.critic.ip": _with("combine_rm_and_critic_server", "reward.url"),
        "remote_critic_rm.critic.port": _with("combine_rm_and_critic_server", "reward.url"),
        "model.ppo.num_rollout_samples": _ROLLOUT,
        "model.ppo.num_val_samples": same("evaluation.prompts"),
        "model.ppo.entropy_bonus": same("ppo.entropy_coef"),
        "model.ppo.ratio_eps": same("ppo.clip"),
        **{f"model.ppo.{key}": row for key, row in _SAMPLING.items()},
        "model.global_batch_size": same("batch.minibatch"),
        "model.micro_batch_size": same("batch.microbatch"),
        "model.seed": same("seed"),
        **_OPTIMIZER,
        "model.data.data_prefix.train": made("prompts.source", note="the first file", by=_prompts),
        "exp_manager.name": made("name", note="what a folder's name may hold", by=folder_name),
        "exp_manager.create_wandb_logger": made("trackers", note="true: wandb", by=_wandb),
        "exp_manager.checkpoint_callback_params.save_top_k": made("checkpoint.keep", note="from 1 on", by=_keep),
        **_OTHERS,
    },
    always={
        "ppo.epochs": (1, "NeMo-Aligner uses each rollout once"),
        "optimizer.eps": (1.0e-8, "the fused Adam as it comes"),
        "critic.kind": ("separate", "a critic of its own"),
        "critic.model": ("reward-model", "NeMo's starts from the reward model: name its folder"),
    },
    choose={
        "policy.model": ("sft-model", "the starting policy, a Hugging Face folder or hub id"),
        "reward.source": ("trained", "the file names no reward server"),
        "reward.model": ("reward-model", "a reward model's folder"),
        "prompts.source": ("prompts.jsonl", "the file names no prompts"),
    },
)

CRITIC = Framework(
    "NeMo, the PPO critic, a second file beside the actor's",
    rows={
        "model.loss_clip_val": same("ppo.value_clip"),
        "model.optim.lr": same("critic.learning_rate"),
        "model.optim.*": nothing("the optimizer's other settings are the actor's"),
        "model.reward_standardization.*": nothing("reward.json beside a reward model holds its mean and std"),
        "model.*": nothing("a property of the reward model, or the actor's setting"),
        "trainer.*": nothing(SERVERS),
        "exp_manager.*": nothing(FOLDER),
        "pretrained_checkpoint.*": nothing("critic.model names the folder it starts from"),
        "defaults": nothing(MEGATRON),
    },
)
