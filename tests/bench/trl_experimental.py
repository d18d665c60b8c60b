"""TRL 1's experimental PPOTrainer, held after each of its iterations until the next `step`.

Its loop cannot be called step by step, so a callback at the end of an iteration answers and waits; phases are read off
by wrapping the functions that the loop calls.
"""

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from setting import Gate, Iteration, Task, read_task
from torch import Tensor, nn
from torch_reward import TorchReward
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

ITERATIONS = 100_000


class TokenReward(nn.Module):
    """The classifier as this trainer wants a reward model: a backbone over padded ids, a score per token.

    The classifier reads a sequence from position 0 and scores it once, so the real tokens are moved to the left and
    every position gets the sequence's score.
    """

    base_model_prefix = "backbone"

    def __init__(self, reward: TorchReward) -> None:
        super().__init__()
        self.classifier, self.label = reward.model, reward.label
        self.eos = reward.tokenizer.eos_token_id
        self.score = nn.Identity()

    def backbone(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> SimpleNamespace:
        """`hidden_states` whose last is the score at every position, [B, T, 1]."""
        keep = attention_mask.bool() & (input_ids != self.eos)
        order = keep.int().argsort(dim=1, descending=True, stable=True)
        width = int(keep.sum(1).max())
        ids, mask = input_ids.gather(1, order)[:, :width], keep.gather(1, order)[:, :width]
        scores = self.classifier(input_ids=ids, attention_mask=mask.long()).logits[:, self.label]
        return SimpleNamespace(hidden_states=(scores[:, None, None].expand(*input_ids.shape, 1),))


class Stepper(TrainerCallback):
    """Ends an iteration: answers, waits, and starts the clock of the next."""

    def __init__(self, gate: Gate, response_tokens: int) -> None:
        self.gate, self.response_tokens = gate, response_tokens
        self.clock: Iteration = gate.wait()
        self.update_began: float | None = None
        self.logged: dict[str, float] = {}

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time added to `phase`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.clock.phase(phase):
                return function(*args, **kwargs)

        return call

    def forward(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`: part of `evaluate` without gradients; the first with gradients begins the update."""
        evaluating = self.timed("evaluate", function)

        def call(*args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled():
                return evaluating(*args, **kwargs)
            if self.update_began is None:
                self.update_began = time.perf_counter()
            return function(*args, **kwargs)

        return call

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """Called right after the epochs and their statistics."""
        if self.update_began is not None:
            self.clock.phases["update"] += time.perf_counter() - self.update_began
        self.update_began, self.logged = None, logs

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called at the end of each iteration."""
        figures = {"score_mean": self.logged["objective/scores"], "kl": self.logged["objective/kl"]}
        self.gate.answer(self.clock.record(**figures, response_tokens=self.response_tokens))
        self.clock = self.gate.wait()


def main() -> None:
    """Steps until the driver leaves."""
    warnings.simplefilter("ignore")
    task = read_task()
    tokenizer = AutoTokenizer.from_pretrained(task.policy, padding_side="left")
    policy = AutoModelForCausalLM.from_pretrained(task.policy)
    reward = TokenReward(TorchReward(task.classifier))

    def save(place: Path) -> dict[str, Any]:
        policy.save_pretrained(place)
        return {}

    stepper = Stepper(Gate(save), task.setting.rollout * task.setting.response_tokens[1])
    measure(stepper, reward)
    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            args=options(task, Path(folder)),
            processing_class=tokenizer,
            model=policy,
            ref_model=AutoModelForCausalLM.from_pretrained(task.policy),
            reward_model=reward,
            value_model=AutoModelForSequenceClassification.from_pretrained(task.policy, num_labels=1),
            train_dataset=Dataset.from_dict({"input_ids": task.prompts()}),
            callbacks=[stepper],
        )
        trainer.train()


def measure(stepper: Stepper, reward: TokenReward) -> None:
    """Wrap what the trainer's loop calls by name."""
    get_reward = ppo_trainer.get_reward
    scoring, valuing = stepper.timed("score", get_reward), stepper.timed("evaluate", get_reward)

    def timed_reward(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return (scoring if model is reward else valuing)(model, *args, **kwargs)

    ppo_trainer.get_reward = timed_reward
    ppo_trainer.batch_generation = stepper.timed("generate", ppo_trainer.batch_generation)
    ppo_trainer.forward = stepper.forward(ppo_trainer.forward)


def options(task: Task, folder: Path) -> PPOConfig:
    """The same settings; the KL price is fixed, every response has the longest length: this trainer knows no other."""
    setting = task.setting
    return PPOConfig(
        output_dir=str(folder),
        seed=task.seed,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        learning_rate=task.learning_rate,
        lr_scheduler_type="constant",
        per_device_train_batch_size=setting.rollout,
        gradient_accumulation_steps=1,
        num_mini_batches=setting.rollout // setting.minibatch,
        num_ppo_epochs=setting.epochs,
        total_episodes=setting.rollout * ITERATIONS,
        local_rollout_forward_batch_size=setting.rollout,
        num_sample_generations=0,
        response_length=setting.response_tokens[1],
        stop_token="eos",
        temperature=1.0,
        kl_coef=setting.kl_coef,
        cliprange=setting.clip,
        cliprange_value=setting.clip,
        vf_coef=setting.value_coef,
        gamma=setting.gamma,
        lam=setting.lam,
        save_strategy="no",
        report_to=[],
        logging_steps=1,
        disable_tqdm=True,
    )


if __name__ == "__main__":
    main()
