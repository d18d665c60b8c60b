"""TRL's RewardTrainer for rankings of any size: one forward per response, and all of a ranking in one micro-batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from trl import RewardTrainer

from appliance.stages.reward_losses import LOSSES, margins, off_centre


@dataclass(frozen=True)
class RankingCollator:
    """Puts rankings together: ids and mask [N, T] of all N responses, ranks [G, K], and slots [N], each one's place there.

    All rankings' first responses come before their second ones, and so on: of pairs, the order that TRL has.
    """

    pad_token_id: int

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """`rows` have the token ids of each response, and their ranks."""
        widest = max(len(row["ranks"]) for row in rows)
        ranks = [row["ranks"] + [0] * (widest - len(row["ranks"])) for row in rows]
        places = [(g, k) for k in range(widest) for g, row in enumerate(rows) if k < len(row["ranks"])]
        ids = [torch.tensor(rows[g]["responses"][k]) for g, k in places]
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_token_id),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
            "ranks": torch.tensor(ranks),
            "slots": torch.tensor([g * widest + k for g, k in places]),
        }


class RankingTrainer(RewardTrainer):
    """Its checkpoints, logs and optimizer steps; rows of `responses` (token ids) and `ranks`, and a loss by name.

    Every ranking counts once in a batch, whatever its size. A batch of pairs costs what TRL's trainer says it does.
    """

    loss_is_scaled_for_ga = True  # `compute_loss` divides by the rankings of the whole step, the trainer not again

    def __init__(self, *, ranking_loss: str, **options: Any) -> None:
        self.ranking_loss: Callable[[Tensor, Tensor], Tensor] = LOSSES[ranking_loss]
        super().__init__(data_collator=RankingCollator(options["processing_class"].pad_token_id), **options)

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """The rows as they are: they are tokenized and short enough."""
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["responses", "ranks"]

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> int:
        """Rankings in an optimizer step, whose last micro-batch may be a smaller one."""
        return sum(len(batch["ranks"]) for batch in batch_samples)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The sum of the rankings' losses, the pull to the centre included, over `num_items_in_batch`; without it, the mean."""
        ranks = inputs["ranks"]
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        found = outputs.logits.squeeze(-1)  # [N]
        scores = found.new_zeros(ranks.numel()).scatter(0, inputs["slots"], found).view(ranks.shape)  # [G, K]
        costs = self.ranking_loss(scores, ranks)  # [G]
        if self.args.center_rewards_coefficient is not None:
            costs = costs + self.args.center_rewards_coefficient * off_centre(scores, ranks)
        loss = costs.sum() / (len(ranks) if num_items_in_batch is None else num_items_in_batch)
        self._count(found.detach(), margins(scores.detach(), ranks), inputs["attention_mask"])
        return (loss, outputs) if return_outputs else loss

    def _count(self, scores: Tensor, margin: Tensor, mask: Tensor) -> None:
        """Enters the batch's figures under TRL's names; accuracy and margin leave ties out."""
        figures = self._metrics["train"]
        self._total_train_tokens += int(mask.sum())
        figures["num_tokens"] = [self._total_train_tokens]
        named = {"min_reward": scores.min(), "mean_reward": scores.mean(), "max_reward": scores.max()}
        if len(margin):
            named |= {"accuracy": (margin > 0).float().mean(), "margin": margin.mean()}
        for name, value in named.items():
            figures[name].append(value.item())
