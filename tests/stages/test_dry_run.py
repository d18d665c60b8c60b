"""A run tried before it is queued."""

import json

import pytest
from click.testing import CliRunner

from appliance.cli.validate import validate
from appliance.config import parse, to_yaml
from appliance.stages import demo_models
from appliance.stages.dry_run import dry_run

PROMPTS = [f"the film number {n} was" for n in range(12)]


@pytest.fixture
def values(tmp_path):
    demo_models.make(tmp_path / "start", PROMPTS, 1)
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    return {
        "stage": "ppo",
        "device": "cpu",
        "policy": {"model": str(tmp_path / "start" / "policy")},
        "reward": {"source": "length", "target_words": 3},
        "prompts": {"source": str(tmp_path / "p.txt")},
        "sampling": {"response_tokens": [4, 4]},
        "evaluation": {"prompts": 2, "report_prompts": 2},
    }


def test_models_prompts_scorer_and_two_answers(values):
    found = list(dry_run(parse(values, origin="c")))
    assert [(one["check"], one["ok"]) for one in found] == [
        ("model", True),
        ("prompts", True),
        ("scorer", True),
        ("samples", True),
    ]
    assert found[1]["said"] == "8 practice prompts, 2 test prompts, 2 for the report"
    answers = found[-1]["answers"]
    assert len(answers) == 2
    for answer in answers:
        assert answer["score"] == -abs(len(answer["response"].split()) - 3)


def test_a_blend_without_scales_shows_each_parts_score(values):
    sources = [{"source": "length", "name": "raw", "normalize": False}, {"source": "length", "name": "scaled"}]
    values["reward"] = {"source": "blend", "sources": sources}
    answer = list(dry_run(parse(values, origin="c")))[-1]["answers"][0]
    assert answer["score"] is None
    assert answer["parts"]["raw"] == answer["parts"]["scaled"] == len(answer["response"].split())


def test_it_ends_at_the_first_thing_that_is_wrong(values, tmp_path):
    values["reward"] = {"source": "trained", "model": str(tmp_path / "nowhere")}
    last = list(dry_run(parse(values, origin="c")))[-1]
    assert (last["check"], last["ok"]) == ("scorer", False)
    assert last["fix"]


def test_the_command_prints_json_lines_and_fails_where_the_dry_run_does(values, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(to_yaml(parse(values, origin="c")))
    ended = CliRunner().invoke(validate, ["--dry-run", "--json", str(file)])
    assert ended.exit_code == 0, ended.output
    assert [json.loads(line)["check"] for line in ended.stdout.splitlines()] == [
        "model",
        "prompts",
        "scorer",
        "samples",
    ]
    values["policy"] = {"model": str(tmp_path / "nowhere")}
    file.write_text(to_yaml(parse(values, origin="c")))
    assert CliRunner().invoke(validate, ["--dry-run", str(file)]).exit_code == 1
