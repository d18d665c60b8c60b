"""Losses of rankings by hand, and on pairs the same numbers and gradients as TRL's own trainer."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from trl import RewardConfig as TrlConfig
from trl import RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from appliance.models.loading import load_new_reward_model
from appliance.stages.reward_losses import LOSSES, margins, off_centre, pairs_loss, plackett_luce_loss
from appliance.stages.reward_trainer import RankingCollator, RankingTrainer


def cost(difference: float) -> float:
    """-log sigmoid(difference)."""
    return math.log1p(math.exp(-difference))


def losses(loss: Callable, scores: list[float], ranks: list[int]) -> float:
    """The loss of one ranking."""
    return loss(torch.tensor([scores], dtype=torch.float64), torch.tensor([ranks])).item()


def test_three_responses_are_three_pairs_with_a_third_each():
    # scores 2, 1, -1, best first: differences 1, 3, 2
    assert losses(pairs_loss, [2, 1, -1], [1, 2, 3]) == pytest.approx((cost(1) + cost(3) + cost(2)) / 3)
    # the same responses, the other way around: every difference has the other sign
    assert losses(pairs_loss, [2, 1, -1], [3, 2, 1]) == pytest.approx((cost(-1) + cost(-3) + cost(-2)) / 3)


def test_the_order_of_the_responses_does_not_matter_and_a_gap_in_the_ranks_neither():
    for loss in LOSSES.values():
        sorted_first = losses(loss, [2, 1, -1], [1, 2, 3])
        assert losses(loss, [-1, 2, 1], [3, 1, 2]) == pytest.approx(sorted_first)
        assert losses(loss, [-1, 2, 1], [9, 1, 4]) == pytest.approx(sorted_first)


def test_a_tie_costs_log_2_where_the_scores_are_equal_and_more_on_either_side():
    assert losses(pairs_loss, [0.7, 0.7], [1, 1]) == pytest.approx(math.log(2))
    # apart by 3: (cost(3) + cost(-3)) / 2
    assert losses(pairs_loss, [1, -2], [1, 1]) == pytest.approx((cost(3) + cost(-3)) / 2)
    assert losses(pairs_loss, [-2, 1], [2, 2]) == pytest.approx((cost(3) + cost(-3)) / 2)


def test_a_tie_pulls_its_two_scores_together():
    scores = torch.tensor([[1.0, -1.0]], requires_grad=True)
    pairs_loss(scores, torch.tensor([[1, 1]])).sum().backward()
    # d/da of (log(1 + e^-(a-b)) + log(1 + e^(a-b))) / 2 is sigmoid(a - b) - 1/2, here sigmoid(2) - 1/2
    assert scores.grad.tolist()[0] == pytest.approx([1 / (1 + math.exp(-2)) - 0.5, 0.5 - 1 / (1 + math.exp(-2))])


def test_a_tie_among_others_counts_as_one_of_the_pairs():
    # a best, b and c tied: pairs a-b 1, a-c 2, and the tie b-c with a difference of 1
    expected = (cost(1) + cost(2) + (cost(1) + cost(-1)) / 2) / 3
    assert losses(pairs_loss, [2, 1, 0], [1, 2, 2]) == pytest.approx(expected)


def test_plackett_luce_is_one_choice_after_another():
    # the best from e^2 + e^1 + e^-1, the next from e^1 + e^-1, the last from itself
    first = math.log(math.exp(2) + math.exp(1) + math.exp(-1)) - 2
    second = math.log(math.exp(1) + math.exp(-1)) - 1
    assert losses(plackett_luce_loss, [2, 1, -1], [1, 2, 3]) == pytest.approx(first + second)


def test_tied_responses_are_each_chosen_from_all_that_is_not_better():
    # two tied firsts (2 and 1) before a third (-1): both from all three, then the third from itself
    everything = math.log(math.exp(2) + math.exp(1) + math.exp(-1))
    assert losses(plackett_luce_loss, [2, 1, -1], [1, 1, 2]) == pytest.approx((everything - 2) + (everything - 1))
    # a first (2) before two tied lasts (1 and -1): those are both chosen from the two of them
    rest = math.log(math.exp(1) + math.exp(-1))
    assert losses(plackett_luce_loss, [2, 1, -1], [1, 2, 2]) == pytest.approx(
        (everything - 2) + (rest - 1) + (rest + 1)
    )


def test_of_two_responses_both_losses_are_one():
    for d in (-2.0, 0.0, 0.5, 4.0):
        assert losses(plackett_luce_loss, [d, 0], [1, 2]) == pytest.approx(cost(d))
        assert losses(pairs_loss, [d, 0], [1, 2]) == pytest.approx(cost(d))


def test_a_ranking_beside_a_larger_one_costs_and_teaches_what_it_does_alone():
    alone = torch.tensor([[0.5, -0.25]], requires_grad=True)
    wide = torch.tensor([[0.5, -0.25, 77.0, -99.0], [1.0, 2.0, 3.0, 4.0]], requires_grad=True)
    for loss in (*LOSSES.values(), off_centre):
        for table, ranks in ((alone, [[2, 1]]), (wide, [[2, 1, 0, 0], [1, 2, 3, 4]])):
            table.grad = None
            found = loss(table, torch.tensor(ranks))
            found[0].backward()
        assert loss(wide, torch.tensor(ranks))[0] == loss(alone, torch.tensor([[2, 1]]))[0]
        assert wide.grad.isfinite().all()
        assert wide.grad[0, 2:].tolist() == [0, 0]
        assert torch.equal(
            wide.grad[0, :2], torch.autograd.grad(loss(alone, torch.tensor([[2, 1]])).sum(), alone)[0][0]
        )


def test_the_centre_is_measured_on_pairs():
    # sums of two: 3, 1, 0 -> squares 9, 1, 0
    assert losses(off_centre, [2, 1, -1], [1, 2, 3]) == pytest.approx(10 / 3)


def test_margins_leave_ties_and_empty_places_out():
    found = margins(torch.tensor([[1.0, 3.0, 0.0], [5.0, 4.0, 9.0]]), torch.tensor([[2, 1, 0], [1, 1, 2]]))
    assert sorted(found.tolist()) == [-5, -4, 2]


# --- beside TRL

QUIET = {
    "use_cpu": True,
    "report_to": "none",
    "bf16": False,
    "gradient_checkpointing": None,  # the older name of the next
    "activation_checkpointing": False,
}

PAIRS = [([5, 6, 7, 8], [5, 9]), ([11, 12], [13, 14, 15]), ([20], [21, 22, 23, 24, 25])]


@pytest.fixture(params=[None, 0.03], ids=["plain", "centred"])
def trainers(request, folder_of, tmp_path) -> tuple[RewardTrainer, RankingTrainer]:
    """TRL's trainer and ours over the same pairs and one model."""
    torch.manual_seed(3)
    loaded = load_new_reward_model(str(folder_of("llama")))
    loaded.model.score.weight.data *= 20  # scores that differ
    args = TrlConfig(output_dir=str(tmp_path), center_rewards_coefficient=request.param, **QUIET)
    options = {"model": loaded.model, "args": args, "processing_class": loaded.tokenizer}
    theirs = Dataset.from_list([{"chosen_ids": c, "rejected_ids": r} for c, r in PAIRS])
    ours = Dataset.from_list([{"responses": [c, r], "ranks": [1, 2]} for c, r in PAIRS])
    return (
        RewardTrainer(train_dataset=theirs, **options),
        RankingTrainer(ranking_loss="pairs", train_dataset=ours, **options),
    )


def step(trainer: RewardTrainer) -> tuple[float, dict[str, torch.Tensor], dict[str, float]]:
    """Loss, gradients and logged figures of one batch of everything."""
    trainer.model.zero_grad()
    trainer.model.train()
    torch.manual_seed(0)  # the same dropout
    batch = trainer.data_collator(list(trainer.train_dataset))
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    return loss.item(), gradients, {name: values[-1] for name, values in trainer._metrics["train"].items()}


def test_pairs_cost_and_teach_what_they_do_in_trl(trainers):
    (their_loss, their_gradients, their_figures), (loss, gradients, figures) = map(step, trainers)
    assert abs(loss - 0.7) > 0.05
    assert loss == their_loss  # to the last bit
    assert gradients.keys() == their_gradients.keys()
    assert all(torch.equal(gradients[name], their_gradients[name]) for name in gradients)
    assert figures == their_figures


def test_pairs_are_put_together_as_trl_does():
    ours = RankingCollator(1)([{"responses": [c, r], "ranks": [1, 2]} for c, r in PAIRS])
    theirs = DataCollatorForPreference(1)([{"chosen_ids": c, "rejected_ids": r} for c, r in PAIRS])
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    assert torch.equal(ours["attention_mask"], theirs["attention_mask"])


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_of_unequal_rankings_costs_the_mean_of_each_alone(loss, folder_of: Callable[[str], Path], tmp_path):
    rows = [
        {"responses": [[5, 6], [7], [8, 9, 10]], "ranks": [2, 1, 2]},
        {"responses": [[11], [12, 13]], "ranks": [2, 1]},
        {"responses": [[14], [15], [16], [17, 18]], "ranks": [4, 1, 3, 2]},
    ]
    torch.manual_seed(3)
    loaded = load_new_reward_model(str(folder_of("llama")))
    trainer = RankingTrainer(
        ranking_loss=loss,
        model=loaded.model,
        args=TrlConfig(output_dir=str(tmp_path), **QUIET),
        processing_class=loaded.tokenizer,
        train_dataset=Dataset.from_list(rows),
    )
    whole = trainer.compute_loss(trainer.model, trainer.data_collator(rows)).item()
    expected = []
    for row in rows:
        scores = []
        for ids in row["responses"]:  # one forward each, without padding
            one = torch.tensor([ids])
            scores.append(loaded.model(input_ids=one, attention_mask=torch.ones_like(one)).logits[0, 0])
        expected.append(LOSSES[loss](torch.stack(scores)[None], torch.tensor([row["ranks"]])).item())
    assert whole == pytest.approx(sum(expected) / 3, abs=1e-5)


def test_only_ties_in_a_batch_have_no_accuracy(folder_of: Callable[[str], Path], tmp_path):
    loaded = load_new_reward_model(str(folder_of("llama")))
    rows = [{"responses": [[5], [6]], "ranks": [1, 1]}]
    trainer = RankingTrainer(
        ranking_loss="pairs",
        model=loaded.model,
        args=TrlConfig(output_dir=str(tmp_path), **QUIET),
        processing_class=loaded.tokenizer,
        train_dataset=Dataset.from_list(rows),
    )
    assert trainer.compute_loss(trainer.model, trainer.data_collator(rows)).item() >= math.log(2) - 1e-6
    assert "accuracy" not in trainer._metrics["train"]
    assert "mean_reward" in trainer._metrics["train"]
