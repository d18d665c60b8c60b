"""Three sets of prompts that share no text, drawn by the seed, and messages where that cannot be."""

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.config import PpoConfig
from appliance.errors import DataError
from appliance.models.loading import load_policy_model
from appliance.stages.prompts import PromptSets, prompt_sets

LINES = [f"w{i} w{i + 1} w{i + 2} w{i + 3}" for i in range(40)]


@pytest.fixture
def sets(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., PromptSets]:
    """sets(lines, seed=1, prompts={...}, evaluation={...}): the prompt sets of a config over these lines."""
    loaded = load_policy_model(str(folder_of("gpt2")), None)

    def make(lines: list[str], seed: int = 1, prompts: dict | None = None, **evaluation: object) -> PromptSets:
        file = tmp_path / "p.txt"
        file.write_text("".join(f"{line}\n" for line in lines))
        config = PpoConfig.model_validate(
            {
                "policy": {"model": "unused"},
                "reward": {"source": "length"},
                "prompts": {"source": str(file)} | (prompts or {}),
                "seed": seed,
                "evaluation": {"prompts": 5, "report_prompts": 4} | evaluation,
            }
        )
        return prompt_sets(config, loaded.model, loaded.tokenizer)

    return make


def test_every_prompt_is_in_exactly_one_set(sets):
    made = sets(LINES)
    parts = [made.train.texts, made.held_out.texts, made.report.texts]
    assert [len(part) for part in parts] == [31, 5, 4]
    assert sorted(text for part in parts for text in part) == sorted(LINES)


def test_the_sets_follow_from_the_seed_and_not_from_the_order_of_the_file(sets):
    assert set(sets(LINES).held_out.texts) | set(sets(LINES).report.texts) == set(
        sets(LINES[::-1]).held_out.texts
    ) | set(sets(LINES[::-1]).report.texts)
    assert set(sets(LINES).report.texts) != set(sets(LINES, seed=2).report.texts)


def test_prompts_that_are_alike_once_they_are_cut_stand_on_one_side(sets):
    # 40 lines, cut to one of five beginnings
    lines = [f"w{i % 10} w90 w{i}" for i in range(40)]
    made = sets(lines, prompts={"length_tokens": [2, 2]})
    parts = [set(part.texts) for part in (made.train, made.held_out, made.report)]
    assert parts[0].isdisjoint(parts[1] | parts[2])
    assert parts[1].isdisjoint(parts[2])
    assert (len(made.held_out.texts), len(made.report.texts)) == (5, 4)  # each asked once
    assert len(made.train.texts) == 4  # the one text that is left, as often as it was there
    assert made.train.lengths.tolist() == [2] * 4


def test_texts_and_token_ids_belong_together(sets):
    for part in (made := sets(LINES)).train, made.held_out, made.report:
        for text, ids, length in zip(part.texts, part.ids.tolist(), part.lengths.tolist(), strict=True):
            assert len(text.split()) == length == 4
            assert len(ids) >= 4


def test_prompts_of_the_scored_file_take_the_place_of_those_held_out(sets, tmp_path):
    file = tmp_path / "scored.txt"
    file.write_text("".join(f"{line}\n" for line in [*LINES[:3], "w93 w92"]))
    made = sets(LINES, prompts_file=str(file))
    assert made.held_out.texts == [*LINES[:3], "w93 w92"]  # all of them, whatever evaluation.prompts says
    assert (len(made.train.texts), len(made.report.texts)) == (33, 4)
    assert set(made.train.texts) | set(made.report.texts) == set(LINES[3:])
    assert f"3 prompts of {file} were taken out of the other prompts" in made.notes
    both = sets(LINES, prompts_file=str(file), report_file=str(file))
    assert both.report.texts == both.held_out.texts == made.held_out.texts
    assert set(both.train.texts) == set(LINES[3:])


def test_prompts_of_the_report_file_are_taken_out_of_both_other_sets(sets, tmp_path):
    file = tmp_path / "asked.txt"
    file.write_text("".join(f"{line}\n" for line in [*LINES[:6], "w93 w92"]))
    made = sets(LINES, report_file=str(file))
    assert made.report.texts == [*LINES[:6], "w93 w92"]
    assert (len(made.train.texts), len(made.held_out.texts)) == (29, 5)  # of the 34 that are left
    assert set(made.train.texts) | set(made.held_out.texts) == set(LINES[6:])
    assert f"6 prompts of {file} were taken out of the other prompts" in made.notes


def test_too_few_prompts_are_counted(sets):
    with pytest.raises(DataError, match=r"9 distinct prompts, but 9 are held out \(evaluation.prompts 5, evaluation"):
        sets(LINES[:9])
    assert len(sets(LINES[:10]).train.texts) == 1


def test_a_report_file_that_holds_every_prompt_leaves_nothing_to_train_on(sets, tmp_path):
    file = tmp_path / "asked.txt"
    file.write_text("".join(f"{line}\n" for line in LINES))
    with pytest.raises(DataError, match=r"every prompt of .* is in .*asked\.txt too"):
        sets(LINES, report_file=str(file))


def test_prompts_that_are_all_too_short_are_said_to_be(sets):
    with pytest.raises(DataError, match=r"no prompt is left \(40 prompts with fewer than 5 tokens were left out"):
        sets(LINES, prompts={"length_tokens": [5, 6]})
