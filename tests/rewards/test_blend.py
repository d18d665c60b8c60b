"""The arithmetic of a blend and its gates by hand, its options, and what is asked of whom."""

import math

import pytest
import torch

from appliance.config.load import part_options
from appliance.errors import ApplianceError, ConfigError
from appliance.ppo.types import Composite
from appliance.rewards import blend
from appliance.rewards._blending import Blend, Part, Scale, scales_of
from appliance.rewards._members import Gate

CPU = torch.device("cpu")
NAN = float("nan")
GOOD = {"source": "keyword", "positive": ["good"], "name": "kind"}


def parsed(*sources, **more):
    return part_options("rewards", {"source": "blend", "sources": list(sources)} | more, where="c.yaml: reward")


def made(*sources, **more):
    section = parsed(*sources, **more)
    return blend.make(blend.Options(**{key: value for key, value in section.items() if key != "source"}), CPU)


def same(found, expected):
    torch.testing.assert_close(found, torch.tensor(expected), equal_nan=True, atol=1e-6, rtol=0)


def test_a_weighted_sum_of_normalized_scores_by_hand():
    # words: 1, 3, 5 with mean 2, std 4: -.25, .25, .75, times 2; "good": 0, 1, 2 as it is, times -1
    source = made(
        {"source": "length", "weight": 2.0, "mean": 2.0, "std": 4.0},
        GOOD | {"weight": -1.0, "normalize": False},
    )
    assert isinstance(source, Composite)
    assert source.names == ("length", "kind")
    prompts, responses = ["p"] * 3, ["a", "a b good", "good good a b c"]
    parts = source.parts(prompts, responses)
    same(parts, [[1.0, 0.0], [3.0, 1.0], [5.0, 2.0]])
    same(source.normalized(parts), [[-0.25, 0.0], [0.25, 1.0], [0.75, 2.0]])
    same(source.added(parts), [[-0.5, 0.0], [0.5, -1.0], [1.5, -2.0]])
    same(source.combine(parts), [-0.5, -0.5, -0.5])
    assert torch.equal(source(prompts, responses), source.combine(parts))


def test_a_gate_keeps_rows_from_all_later_sources():
    asked = {"second": [], "third": []}

    def listen(name, value):
        def source(prompts, responses):
            asked[name] += responses
            return torch.full((len(responses),), value)

        return source

    def words(prompts, responses):
        return torch.tensor([float(len(text.split())) for text in responses])

    unit = Scale(0.0, 1.0)
    source = Blend(
        (
            Part("first", words, 1.0, Gate(min=2.0, max=3.0, penalty=10.0), Scale(2.0, 2.0)),
            Part("second", listen("second", 5.0), 2.0, Gate(min=6.0), unit),
            Part("third", listen("third", 7.0), 1.0, None, unit),
        ),
        samples=2,
    )
    responses = ["a", "a b", "a b c", "a b c d"]
    parts = source.parts(["p"] * 4, responses)
    assert asked == {"second": ["a b", "a b c"], "third": []}  # both ends pass; 5 is under the second gate's 6
    same(parts, [[1.0, NAN, NAN], [2.0, 5.0, NAN], [3.0, 5.0, NAN], [4.0, NAN, NAN]])
    # (words - 2) / 2, less 10 where the gate is not passed; 2 * 5; nothing
    same(source.added(parts), [[-10.5, 0, 0], [0.0, 10.0, 0], [0.5, 10.0, 0], [-9.0, 0, 0]])
    same(source(["p"] * 4, responses), [-10.5, 10.0, 10.5, -9.0])


def test_a_weight_of_zero_leaves_the_gate_alone():
    source = made(
        {"source": "length", "weight": 0.0, "normalize": False, "gate": {"min": 2}}, GOOD | {"normalize": False}
    )
    assert source(["p", "p"], ["good", "good good"]).tolist() == [0.0, 2.0]


def test_a_row_is_scored_as_if_it_were_alone():
    source = made({"source": "length", "mean": 1.5, "std": 0.7, "gate": {"min": 2}}, GOOD | {"mean": 0.1, "std": 0.3})
    responses = ["good", "a good", "a b c d", ""]
    together = source(["p"] * 4, responses)
    alone = torch.cat([source(["p"], [response]) for response in responses])
    assert torch.equal(together, alone)


def test_scales_are_mean_and_unbiased_deviation_in_full_precision():
    # 1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, / 2 = 7
    assert scales_of(("a",), torch.tensor([[1.0], [2.0], [6.0]])) == {"a": Scale(3.0, math.sqrt(7.0))}
    with pytest.raises(ApplianceError, match="'b' gave 4 for each of 3 responses of the starting policy"):
        scales_of(("a", "b"), torch.tensor([[1.0, 4.0], [2.0, 4.0], [6.0, 4.0]]))


def test_without_its_scales_a_blend_says_how_to_get_them():
    source = made({"source": "length"}, GOOD | {"mean": 0.0, "std": 1.0})
    assert source.unsettled == ("length",)
    with pytest.raises(ApplianceError, match="normalizes length on a run's starting policy") as told:
        source(["p"], ["a"])
    assert "--run RUN_DIR" in told.value.fix
    ready = source.settled({"length": Scale(1.0, 2.0), "kind": Scale(9.0, 9.0)})  # its own scale stays
    assert ready(["p"], ["a good b"]).tolist() == [2.0]  # (3 - 1) / 2 + 1
    same(source.each(["p"], ["a good b"]), [[3.0, 1.0]])


def test_the_scales_are_measured_with_the_gates_left_aside():
    source = made({"source": "length", "gate": {"min": 99}}, GOOD)
    same(source.each(["p"] * 2, ["good", "a b"]), [[1.0, 1.0], [2.0, 0.0]])


@pytest.mark.parametrize("value", [NAN, math.inf])
def test_a_source_that_gives_no_number_is_named(value):
    source = Blend((Part("odd", lambda p, r: torch.tensor([1.0, value]), 1.0, None, Scale(0.0, 1.0)),), samples=2)
    with pytest.raises(ApplianceError, match=r"the source 'odd' of the blend gave .* for 1 of 2 texts, first 'pr'"):
        source(["p", "p"], ["q", "r"])


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([{"source": "length", "wieght": 2}], r"number 1 \(length\): wieght is an unknown key; did you mean weight\?"),
        ([{"source": "length", "per_wrod": 2}], r"did you mean per_word\?"),
        ([GOOD, {"source": "length", "gate": {"mim": 1}}], r"number 2 \(length\): gate.mim .* did you mean gate.min\?"),
        ([{"source": "lenght"}], "there is no 'lenght' in rewards\n.*did you mean 'length'"),
        ([{"weight": 1.0}], r"number 1 \(None\).source is missing"),
        ([{"source": "blend", "sources": [GOOD]}], "is a blend in a blend"),
        ([GOOD, {"source": "length", "name": "kind"}], "2 sources are called 'kind'"),
        ([{"source": "length"}, {"source": "length"}], "2 sources are called 'length'"),
        ([{"source": "length", "name": "a/b"}], "name is 'a/b'"),
        ([{"source": "length", "std": 1.0}], "mean and std go together"),
        ([{"source": "length", "mean": 0.0, "std": 0.0}], "std is 0.0"),
        ([{"source": "length", "mean": 0.0, "std": 1.0, "normalize": False}], "mean and std go with normalize: true"),
        ([{"source": "length", "gate": {}}], "a gate needs min or max"),
        ([{"source": "length", "gate": {"min": 2, "max": 1}}], "nothing lies between min 2 and max 1"),
        ([{"source": "length", "weight": float("nan")}], "weight is nan"),
        ([], "at least 1 item"),
    ],
)
def test_a_wrong_source_is_named_with_what_was_meant(sources, message):
    with pytest.raises(ConfigError, match=rf"(?s)c.yaml: reward: .*{message}"):
        parsed(*sources)


def test_every_wrong_source_is_named_at_once():
    with pytest.raises(ConfigError, match=r"(?s)number 1 .*number 2 "):
        parsed({"source": "length", "a": 1}, {"source": "keyword"})


def test_a_section_survives_a_config():
    section = parsed(GOOD | {"gate": {"min": 1}}, {"source": "length"}, samples=9)
    assert section["samples"] == 9
    assert [inner["name"] for inner in section["sources"]] == ["kind", "length"]
    assert parsed(*section["sources"], samples=9) == section
