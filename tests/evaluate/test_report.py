import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest

from appliance.evaluate import report
from appliance.evaluate.records import Comparison

VOID = {"meta", "circle", "path"}
RUN = {
    "name": "demo",
    "model": "some/model",
    "reward": {"source": "lexicon", "file": "words.txt"},
    "second_opinion": None,
    "seed": 0,
    "versions": {"torch": "2.13"},
    "config": "stage: ppo\nbatch: {rollout: 64}\n",
}
METRICS = [{"step": 0, "eval_score_mean": 0.1}] + [
    {"step": s, "score_mean": s / 10, "kl": None if s == 3 else s / 5, "length_mean": 20.0, "entropy": 2.0}
    for s in range(1, 6)
]
ALARM = {"step": 4, "kind": "alarm", "name": "kl", "what": "KL is 21.0", "fix": "lower it"}


def build(comparison, *, metrics=METRICS, events=(), seconds=None, **run):
    return report.build(
        comparison, metrics=metrics, events=events, seconds=seconds or {"sft": 12.5, "ppo": 47.5}, run=RUN | run
    )


class Page(HTMLParser):
    """Reads a page: its tags with attributes, its text, and whether every tag was closed in its order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_report_figures_are_those_of_the_samples(compare):
    made = compare(1.0, opinion=0.5)
    found = build(made, events=[ALARM])
    before, after = np.array(made.before.scores), np.array(made.after.scores)
    assert (found["prompts"], found["samples"], found["steps"]) == (15, 8, 5)
    assert (found["improved"], found["worse"], found["tied"]) == (15, 0, 0)
    assert found["p_value"] == found["sign_test_p"] == 2 / 2**15
    assert found["mean_reward"] == {"before": before.mean(), "after": after.mean()}
    assert found["median_reward"] == {"before": np.median(before), "after": np.median(after)}
    assert found["reward_std"] == {"before": before.std(), "after": after.std()}
    opinions = [np.array(side.opinion).std() for side in (made.before, made.after)]
    assert found["second_opinion"]["std"] == dict(zip(("before", "after"), opinions, strict=True))
    assert found["difference"] == pytest.approx((after - before).mean())
    assert found["difference_ci95"][0] < found["difference"] < found["difference_ci95"][1]
    assert (found["kl"], found["kl_ci95"]) == (4.0, [4.0, 4.0])
    assert found["perplexity"]["after"] == pytest.approx(math.exp(3.0))  # the fixture: 3 nats a token
    assert found["second_opinion"]["agrees"] is True
    assert found["second_opinion"]["difference"] == pytest.approx(found["difference"] - 0.5)
    assert found["seconds"] == {"sft": 12.5, "ppo": 47.5, "total": 60.0}
    assert found["events"] == [ALARM]
    assert found["verdict"]["warnings"] == ["alarm at step 4: KL is 21.0"]
    assert found["per_prompt"][2]["prompt"] == "Prompt number 2"
    assert found["per_prompt"][2]["before"] == pytest.approx(before[2].mean())
    assert found["per_prompt"][2]["difference"] == pytest.approx((after[2] - before[2]).mean())


def test_a_total_that_was_given_is_not_added_to_itself(compare):
    seconds = {"ppo": 2.0, "total": 99.0}
    assert build(compare(1.0, prompts=3), seconds=seconds)["seconds"] == {"ppo": 2.0, "total": 2.0}


def test_report_is_strict_json_and_plain(compare):
    odd = {"number": np.float32(2.5), "whole": np.int64(3), "not finite": math.inf, "nan": math.nan, "pair": (1, 2)}
    for prompts in (1, 2, 15):
        found = build(compare(1.0, prompts=prompts, opinion=1.0), odd=odd)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["run"]["odd"] == {"number": 2.5, "whole": 3, "not finite": None, "nan": None, "pair": [1, 2]}


def test_no_tokens_at_all_give_null_and_a_page(compare):
    nothing = {"texts": [[""] * 2] * 8, "tokens": [[0] * 2] * 8, "start_nll": [[0.0] * 2] * 8}
    made = compare(0.0, prompts=8, samples=2, before=nothing, after=nothing)
    found = build(made, metrics=[])
    assert found["perplexity"] == {"before": None, "after": None}
    assert "not known" in Page(report.to_html(found, made, [])).text


def test_write_leaves_three_files_that_can_be_read_again(compare, tmp_path):
    made = compare(1.0, prompts=3, samples=2)
    found = build(made)
    report.write(tmp_path / "new" / "report", found, made, METRICS)
    folder = tmp_path / "new" / "report"
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "report.json", "samples.json"]
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == found
    assert Comparison.from_json(json.loads((folder / "samples.json").read_text(encoding="utf-8"))) == made
    assert (folder / "report.html").read_text(encoding="utf-8") == report.to_html(found, made, METRICS)


def test_five_lines_say_it_to_a_newcomer(compare):
    lines = report.summary_lines(build(compare(1.0, opinion=0.5)))
    assert len(lines) == 5
    assert lines[0] == "What: PPO on some/model, 5 steps, reward lexicon, 1 min 00 s; 15 prompts x 8 answers compared."
    assert lines[1] == "Verdict: better. 15 of 15 prompts improved, 0 got worse, 0 stayed the same."
    assert lines[2].startswith("Mean reward: ")
    assert lines[2].endswith("p = 0.00006.")
    assert lines[3] == "Caution: KL 4.00 nats per answer; the second opinion agrees (+0.47); no warnings"
    assert lines[4].startswith('Example "Prompt number ')


def test_the_example_is_the_middle_answer_to_the_prompt_of_the_middle_change(compare):
    made = compare(
        0.0,
        prompts=3,
        samples=3,
        before={
            "scores": [[0.0] * 3, [1.0, 3.0, 2.0], [0.0] * 3],
            "texts": [["-"] * 3, ["low", "high", "mid"], ["-"] * 3],
        },
        after={
            "scores": [[9.0] * 3, [6.0, 4.0, 5.0], [1.0] * 3],
            "texts": [["-"] * 3, ["up", "down", "half"], ["-"] * 3],
        },
    )  # the changes are 9, 3, 1: prompt 1 is the middle one
    found = build(made)
    assert found["example"] == {"prompt": "Prompt number 1", "before": "mid", "after": "half"}
    assert report.summary_lines(found)[4] == 'Example "Prompt number 1": before "mid", after "half"'
    page = Page(report.to_html(found, made, METRICS)).text
    assert page.index(" mid ") < page.index(" low ")  # shown first, all of them below


@pytest.mark.parametrize("long", ["word " * 60, "x" * 500, "line\nbreak\x1b[31m\x07" * 30, ""])
def test_lines_stay_short_and_printable(compare, long):
    made = compare(1.0, prompts=2, samples=1, before={"texts": [[long]] * 2}, after={"texts": [[long]] * 2})
    named = Comparison([long] * 2, made.before, made.after)
    found = build(named, model=f"/a/very/long/{long}", reward=long, events=[ALARM | {"what": long}])
    lines = report.summary_lines(found)
    assert len(lines) == 5
    assert all(len(line) <= 160 and line.isprintable() for line in lines)


def test_warnings_and_a_missing_opinion_are_in_the_caution(compare):
    lines = report.summary_lines(build(compare(1.0), events=[ALARM]))
    assert lines[3] == (
        "Caution: KL 4.00 nats per answer; no second opinion was asked; 1 warning, first: alarm at step 4: KL is 21.0"
    )


def test_page_shows_verdict_figures_answers_and_settings(compare):
    made = compare(1.0, opinion=-1.0)
    found = build(made, events=[ALARM])
    page = Page(report.to_html(found, made, METRICS))
    assert page.open == []
    assert found["verdict"]["sentence"] in page.text
    assert found["verdict"]["sentence"].endswith("but read the 2 warnings")
    for warning in found["verdict"]["warnings"]:
        assert warning in page.text
    assert "the second opinion disagrees" in page.text
    for text in (made.before.texts[14][7], made.after.texts[0][0], "stage: ppo", "2.13", "lexicon", "ppo 48 s"):
        assert text in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 4
    assert sum(tag == "details" for tag, _ in page.tags) == 15 + 2  # a prompt each, events, config


def test_page_needs_nothing_from_elsewhere(compare):
    made = compare(1.0)
    html = report.to_html(build(made), made, METRICS)
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "base", "form"}
        assert not attributes.keys() & {"src", "href", "xlink:href", "onclick", "onload"}
    assert "http://" not in html
    assert "https://" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags


ATTACK = "</p><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} \" ' &amp;"


def test_texts_of_models_and_prompts_are_escaped_everywhere(compare):
    hostile = {"texts": [[ATTACK]] * 8}
    made = compare(1.0, prompts=8, samples=1, before=hostile, after=hostile)
    made = Comparison([ATTACK] * 8, made.before, made.after)
    event = {"step": 1, "kind": "alarm", "name": "x", "what": ATTACK, "fix": ATTACK}
    found = build(made, events=[event], name=ATTACK, model=ATTACK, reward=ATTACK, config=ATTACK)
    page = Page(report.to_html(found, made, METRICS))
    assert page.open == []
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert page.text.count(ATTACK) >= 8 * 5  # the prompt, two answers shown, two among all
    assert "49" not in [word.strip() for word in page.words]


def test_page_holds_no_control_characters(compare):
    strange = {"texts": [["a\x00b\x1b[2J\nc\td"]] * 3}
    made = compare(1.0, prompts=3, samples=1, before=strange)
    html = report.to_html(build(made), made, METRICS)
    assert "a\ufffdb\ufffd[2J\nc\td" in html
    assert not any(ord(c) < 32 and c not in "\n\t" for c in html)


def test_page_without_metrics_events_or_config_is_whole(compare):
    made = compare(1.0, prompts=1, samples=1)
    found = report.build(made, metrics=[], events=[], seconds={}, run={})
    page = Page(report.to_html(found, made, []))
    assert page.open == []
    assert page.text.count("the run wrote no numbers for this chart") == 4
    assert "too few prompts to tell" in page.text
    assert len(report.summary_lines(found)) == 5


def test_the_name_of_a_reward_tells_a_blends_sources():
    assert report.reward_name({"source": "length"}) == "length"
    assert report.reward_name(
        {"source": "blend", "sources": [{"source": "http", "name": "kind"}, {"source": "length"}]}
    ) == ("blend of kind, length")
