"""What the Teach tab says of votes and of a result, and the config that it trains."""

import json

import pytest
import yaml

from appliance.config import load
from appliance.config.reward import Preferences
from appliance.data.preferences import read_preferences
from appliance.data.rankings import Ranking
from appliance.errors import ApplianceError
from appliance.store.schema import Run
from appliance.store.vote_records import VoteRecord, ranks
from appliance.ui import teaching


def vote(item, user, choice, **more):
    values = {
        "vote_id": item,
        "batch_id": 1,
        "item_id": item,
        "prompt": f"p{item}",
        "responses": ["x", "y"],
        "origins": ["before", "after"],
        "user_id": user,
        "user_name": f"u{user}",
        "order": [0, 1],
        "is_repeat": False,
        "choice": choice,
        "ranks": ranks(choice, None, [0, 1]),
        "reason": "",
        "seconds": 1.0,
        "created": 0.0,
        "excluded": False,
    }
    return VoteRecord(**(values | more))


def test_votes_are_counted_by_what_they_can_teach():
    votes = [vote(1, 1, "a"), vote(2, 1, "same"), vote(3, 1, "skip"), vote(1, 1, "b", is_repeat=True)]
    votes += [vote(1, 2, "b"), vote(2, 3, "a", excluded=True)]
    found = teaching.usable(votes)
    assert (found.pairs, found.ties, found.skipped, found.repeats, found.excluded) == (2, 1, 1, 1, 1)
    assert (found.raters, found.prompts, found.missing) == (2, 2, teaching.NEEDED - 2)
    said = teaching.usable_sentence(found)
    assert "**2 usable comparisons** by 2 people over 2 prompts, and 1 tie." in said
    assert "Not used: 1 skipped, 1 repeat, 1 excluded vote." in said
    assert f"**{teaching.NEEDED - 2} more are needed**" in said


def test_without_votes_it_says_where_they_come_from():
    assert "start a voting on the Vote tab" in teaching.usable_sentence(teaching.usable([]))


def test_a_ranking_of_four_is_six_comparisons():
    record = vote(1, 1, "ranked", responses=list("wxyz"), origins=["before"] * 4, ranks=(1, 2, 3, 4))
    assert teaching.usable([record]).pairs == 6


def test_kept_votes_are_read_back_with_their_ties(tmp_path):
    rankings = [
        Ranking("p", ("a", "b"), (2, 1)),
        Ranking("q", ("c", "d"), (1, 1)),
        Ranking("r", tuple("wxyz"), (1, 2, 3, 4)),
    ]
    file = tmp_path / "votes.jsonl"
    file.write_text(teaching.rows_jsonl(rankings))
    read = read_preferences(Preferences(source=str(file), format="ranked")).rows
    as_sets = [{(text, rank) for text, rank in zip(one.responses, one.ranks, strict=True)} for one in read]
    assert as_sets == [{(text, rank) for text, rank in zip(one.responses, one.ranks, strict=True)} for one in rankings]


def test_the_config_is_what_train_takes_and_stays_within_the_model(tmp_path, folder_of):
    text = teaching.config_yaml(name="kind", model=str(folder_of("gpt2")), source=tmp_path / "v.jsonl", format="ranked")
    file = tmp_path / "reward.yaml"
    file.write_text(text)
    config = load(file)
    assert config.stage == "reward"
    assert config.training.max_length_tokens == 64  # the tiny model's positions
    assert config.optimizer.learning_rate == 5e-4  # tiny models learn nothing at 1e-5
    assert yaml.safe_load(text)["data"]["format"] == "ranked"


REPORT = {
    "held_out_accuracy": 0.71,
    "held_out_accuracy_ci95": [0.6, 0.8],
    "held_out_pairs": 80,
    "chance_p": 0.0002,
    "longer_wins_accuracy": 0.55,
    "longer_wins_p": 0.03,
    "ece": 0.04,
    "verdict": {"word": "passed", "reasons": []},
    "worst": [{"prompt": "p", "chosen": "a", "rejected": "b", "chosen_score": -1.0, "rejected_score": 2.0}],
}


def test_a_result_is_said_against_guessing_and_against_length():
    said = teaching.result_text(REPORT)
    assert said.startswith("### Good enough to train with.")
    assert "**71%** of 80 comparisons" in said
    assert "60% to 80%" in said
    assert "always choosing the longer answer 55%" in said
    assert teaching.worst_rows(REPORT) == [["p", "a", "b", "-1.00 / 2.00"]]


def test_a_result_under_the_gate_says_why():
    failed = REPORT | {"verdict": {"word": "not passed", "reasons": ["only 6 pairs were held out"]}}
    said = teaching.result_text(failed)
    assert said.startswith("### Not good enough yet.")
    assert "only 6 pairs were held out" in said


def test_a_result_that_is_not_there_yet_is_said_so(tmp_path):
    run = Run(name="mine", folder=str(tmp_path))
    with pytest.raises(ApplianceError, match="has no result yet"):
        teaching.read_result(run)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text(json.dumps(REPORT))
    assert teaching.read_result(run) == REPORT
