"""TRL 0.11's PPOTrainer, one iteration per `step`: generated in batches, or prompt by prompt as its example did."""

import warnings
from pathlib import Path
from typing import Any

import torch
from setting import Gate, read_task, shuffled
from torch_reward import TorchReward
from transformers import AutoTokenizer
from trl import AutoModelForCausalLMWithValueHead, PPOConfig, PPOTrainer, create_reference_model
from trl.core import LengthSampler


def main() -> None:
    """Steps until the driver leaves."""
    warnings.simplefilter("ignore")
    task = read_task()
    setting = task.setting
    tokenizer = AutoTokenizer.from_pretrained(task.policy)
    model = AutoModelForCausalLMWithValueHead.from_pretrained(str(task.policy), summary_dropout_prob=0.0)
    config = PPOConfig(
        seed=task.seed,
        learning_rate=task.learning_rate,
        batch_size=setting.rollout,
        mini_batch_size=setting.minibatch,
        ppo_epochs=setting.epochs,
        adap_kl_ctrl=True,
        init_kl_coef=setting.kl_coef,
        target=setting.kl_target,
        horizon=setting.kl_horizon,
        cliprange=setting.clip,
        cliprange_value=setting.clip,
        vf_coef=setting.value_coef,
        gamma=setting.gamma,
        lam=setting.lam,
    )
    trainer = PPOTrainer(config, model, create_reference_model(model), tokenizer)
    reward = TorchReward(task.classifier)
    low, high = setting.response_tokens
    options = {
        "length_sampler": LengthSampler(low, high + 1),
        "return_prompt": False,
        "do_sample": True,
        "top_k": 0,
        "top_p": 1.0,
        "pad_token_id": tokenizer.pad_token_id,
    }
    gate = Gate(lambda folder: save(model, folder))
    for prompts in shuffled(task.prompts(), setting.rollout, task.seed):
        clock = gate.wait()
        queries = [torch.tensor(ids) for ids in prompts]
        with clock.phase("generate"):
            if task.generation == "batched":
                responses = trainer.generate(queries, batch_size=setting.rollout, **options)
            else:
                responses = [trainer.generate(query, **options)[0] for query in queries]
        with clock.phase("score"):
            together = [torch.cat(pair) for pair in zip(queries, responses, strict=True)]
            scores = reward(tokenizer.batch_decode(together, skip_special_tokens=True))
        stats = trainer.step(queries, responses, list(scores))
        clock.phases["evaluate"] = stats["time/ppo/forward_pass"]
        clock.phases["update"] = stats["time/ppo/optimize_step"]
        gate.answer(clock.record(**measured(stats, scores, responses)))


def measured(stats: dict[str, Any], scores: torch.Tensor, responses: list[torch.Tensor]) -> dict[str, Any]:
    """What the curve shows of a step."""
    return {
        "score_mean": float(scores.mean()),
        "kl": float(stats["objective/kl"]),
        "response_tokens": sum(map(len, responses)),
    }


def save(model: AutoModelForCausalLMWithValueHead, folder: Path) -> dict[str, Any]:
    """Writes the policy without its value head."""
    model.pretrained_model.save_pretrained(folder)
    return {}


if __name__ == "__main__":
    main()
