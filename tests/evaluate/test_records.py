import copy
import json

import pytest

from appliance.errors import ApplianceError
from appliance.evaluate.records import Comparison


def test_samples_survive_json(compare):
    for opinion in (None, 0.5):
        made = compare(1.0, prompts=3, samples=2, opinion=opinion)
        assert Comparison.from_json(json.loads(json.dumps(made.to_json(), allow_nan=False))) == made
    assert made.samples == 2


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda v: v.pop("after"), "samples lacks keys after"),
        (lambda v: v.update(more=1), "unknown keys more"),
        (lambda v: v.update(schema=99), "schema is 99"),
        (lambda v: v.update(prompts="one"), "prompts is not a list"),
        (lambda v: v["prompts"].append("one more"), "before answers 3 prompts of 4"),
        (lambda v: v["prompts"].__setitem__(0, 7), "prompts holds something that is not text"),
        (lambda v: v.update(before=[]), "before is list"),
        (lambda v: v["before"].pop("kl"), "before lacks keys kl"),
        (lambda v: v["before"].update(kl=None), "before.kl is not a list of lists"),
        (lambda v: v["before"].update(kl=[1.0, 2.0, 3.0]), "before.kl is not a list of lists"),
        (lambda v: v["before"]["scores"][1].pop(), "scores is not 3 prompts of 2 samples"),
        (lambda v: v["before"]["scores"][1].__setitem__(0, float("nan")), "scores holds a value that is not a finite"),
        (lambda v: v["after"]["tokens"][1].__setitem__(0, -1), "tokens holds a value that is not a whole number"),
        (lambda v: v["after"]["tokens"][1].__setitem__(0, True), "tokens holds a value that is not a whole number"),
        (lambda v: v["after"]["ended"][1].__setitem__(0, 1), "ended holds a value that is not true or false"),
        (lambda v: v["after"]["texts"][1].__setitem__(0, None), "texts holds a value that is not text"),
        (lambda v: v["after"].update(opinion=[[1.0] * 2] * 3), "only one side has a second opinion"),
        (lambda v: v["after"].update({k: [r[:1] for r in v["after"][k]] for k in FIELDS}), "they cannot be paired"),
        (lambda v: [v["after"][k].clear() for k in FIELDS], "texts has rows of"),
    ],
)
def test_damage_is_named(compare, damage, named):
    value = copy.deepcopy(compare(1.0, prompts=3, samples=2).to_json())
    damage(value)
    with pytest.raises(ApplianceError, match="samples are damaged") as caught:
        Comparison.from_json(value)
    assert named in caught.value.what


FIELDS = ("texts", "scores", "tokens", "ended", "kl", "start_nll")


@pytest.mark.parametrize("value", [None, 3, "text", []])
def test_what_is_no_comparison_is_refused(value):
    with pytest.raises(ApplianceError, match="not a table"):
        Comparison.from_json(value)
