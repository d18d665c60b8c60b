"""What supervised fine-tuning and reward-model training give to TRL: token rows, splits that do not leak, steps."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from appliance.config import SftConfig
from appliance.config.base import Optimizer
from appliance.data.demonstrations import Demonstration
from appliance.errors import DataError
from appliance.stages.sft import token_rows
from appliance.stages.trl_training import newest_checkpoint, optimizers, steps_of

# w0 is token 2, w1 3, w10 4, w11 5 (in the order of the words' text); <eos> is 0


def sft(**sections: dict) -> SftConfig:
    """An SFT config with these settings."""
    data = {"source": "d.txt"} | sections.pop("data", {})
    return SftConfig.model_validate({"policy": {"model": "m"}, "data": data} | sections)


def test_a_text_is_learned_with_its_end(tokenizer):
    rows, aside = token_rows([Demonstration(None, "w0 w1 w10")], sft(data={"held_out_share": 0}), tokenizer)
    assert rows == [{"input_ids": [2, 3, 4, 0]}]
    assert aside == []


def test_a_text_that_is_cut_loses_its_end_token(tokenizer):
    config = sft(data={"held_out_share": 0}, training={"max_length_tokens": 3})
    rows, _ = token_rows([Demonstration(None, "w0 w1 w10")], config, tokenizer)
    assert rows == [{"input_ids": [2, 3, 4]}]


def test_a_prompt_is_not_learned(tokenizer):
    config = sft(data={"held_out_share": 0, "prompt_column": "prompt"})
    rows, _ = token_rows([Demonstration("w0 w1", "w10"), Demonstration("", "w11")], config, tokenizer)
    assert rows == [
        {"input_ids": [2, 3, 4, 0], "completion_mask": [0, 0, 1, 1]},
        {"input_ids": [5, 0], "completion_mask": [1, 1]},
    ]


def test_a_prompt_that_fills_the_row_leaves_nothing_to_learn(tokenizer):
    config = sft(data={"held_out_share": 0, "prompt_column": "prompt"}, training={"max_length_tokens": 2})
    rows, _ = token_rows([Demonstration("w0 w1", "w10"), Demonstration("w0", "w11")], config, tokenizer)
    assert [row["input_ids"] for row in rows] == [[2, 5]]
    with pytest.raises(DataError, match=r"no text is left to train on with training\.max_length_tokens 2"):
        token_rows([Demonstration("w0 w1", "w10")], config, tokenizer)


def test_no_text_and_no_prompt_is_on_both_sides(tokenizer):
    repeated = [Demonstration(None, f"w{i % 20}") for i in range(60)]
    rows, aside = token_rows(repeated, sft(data={"held_out_share": 0.3}), tokenizer)
    assert (len(rows), len(aside)) == (42, 18)  # six of twenty texts, three times each
    assert not {row["input_ids"][0] for row in rows} & {row["input_ids"][0] for row in aside}

    answered = [Demonstration(f"w{i % 20}", f"w{i}") for i in range(60)]
    config = sft(data={"held_out_share": 0.3, "prompt_column": "prompt"})
    rows, aside = token_rows(answered, config, tokenizer)
    assert (len(rows), len(aside)) == (42, 18)
    assert not {row["input_ids"][0] for row in rows} & {row["input_ids"][0] for row in aside}


@pytest.mark.parametrize(
    ("training", "rows", "steps"),
    [
        ({"batch": 32}, 64, 2),
        ({"batch": 32}, 65, 3),
        ({"batch": 32, "epochs": 2}, 65, 6),
        ({"batch": 32, "epochs": 0.5}, 96, 2),  # a half of three, rounded up
        ({"batch": 32, "epochs": 9, "max_steps": 4}, 64, 4),
        ({"batch": 32, "max_steps": 40}, 64, 2),
    ],
)
def test_steps_are_whole_epochs_worth(training, rows, steps):
    assert steps_of(sft(training=training).training, rows) == steps


def test_vectors_do_not_decay_and_the_rate_follows_the_config():
    model = torch.nn.Linear(2, 2)
    options = Optimizer(learning_rate=1.0, weight_decay=0.1, warmup_share=0.2, schedule="linear")
    optimizer, schedule = optimizers(model, options, 10)
    assert [(len(g["params"]), g["params"][0].ndim, g["weight_decay"]) for g in optimizer.param_groups] == [
        (1, 2, 0.1),
        (1, 1, 0.0),
    ]
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    # two steps of warm-up, then from 1 down by an eighth each
    assert rates == pytest.approx([0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])


def test_a_checkpoint_that_was_not_finished_is_passed_over(tmp_path):
    for number, whole in ((5, True), (10, True), (15, False)):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "model.safetensors").write_text("")
        if whole:
            (folder / "trainer_state.json").write_text("{}")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert not (tmp_path / "checkpoint-15").exists()
    assert newest_checkpoint(tmp_path / "none") is None
    assert newest_checkpoint(_empty(tmp_path / "empty")) is None


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_made_fixture_has_the_tokens_that_these_tests_count_on(tokenizer: Callable[..., dict]):
    assert tokenizer("w0 w1 w10 w11")["input_ids"] == [2, 3, 4, 5]
