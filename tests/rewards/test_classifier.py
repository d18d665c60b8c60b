"""A classifier's score against transformers' own forward, one text at a time and without padding."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from appliance.errors import ModelError
from appliance.rewards import classifier

CPU = torch.device("cpu")
LABELS = ["bad", "so-so", "good"]
PROMPTS = ["w1 w2", "w3", "w4 w5 w6 w7 w8", "w9", "w1 w2 w3"]
RESPONSES = [" w10", " w11 w12 w13 w14 w15 w16 w17 w18", " w19 w20", "", " w21 w22 w23 w24"]
BOTH = ["gpt2", "distilbert"]


@pytest.fixture(scope="module")
def folders(save_classifier: Callable[..., Path]) -> dict[str, Path]:
    return {kind: save_classifier(kind, LABELS) for kind in BOTH}


def logits_of(folder: Path, text: str, *, last_tokens: int | None = None) -> Tensor:
    """The logits [C] of transformers' own forward on one text; `last_tokens` cuts the ids first."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    if last_tokens is not None:
        ids = ids[:, -last_tokens:]
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]


@pytest.mark.parametrize("kind", BOTH)
def test_the_score_is_the_logit_of_the_named_label(folders, kind):
    score = classifier.make(classifier.Options(model=str(folders[kind]), label="good"), CPU)
    expected = torch.stack([logits_of(folders[kind], p + r)[2] for p, r in zip(PROMPTS, RESPONSES, strict=True)])
    scores = score(PROMPTS, RESPONSES)
    assert scores.dtype == torch.float32
    assert expected.std() > 0.01  # the texts are told apart, so order and padding matter
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("label", ["2", 2, "GOOD", "good"])
def test_a_label_is_named_or_numbered(folders, label):
    folder = folders["distilbert"]
    score = classifier.make(classifier.Options(model=str(folder), label=label), CPU)
    torch.testing.assert_close(score(["w1"], [" w2"])[0], logits_of(folder, "w1 w2")[2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("microbatch", [1, 2, 64])
def test_a_score_does_not_depend_on_the_texts_beside_it(folders, kind, microbatch):
    options = classifier.Options(model=str(folders[kind]), label="bad", microbatch=microbatch)
    score = classifier.make(options, CPU)
    together = score(PROMPTS, RESPONSES)
    alone = torch.cat([score([p], [r]) for p, r in zip(PROMPTS, RESPONSES, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_the_probability_is_a_softmax_over_labels_that_exclude_each_other(folders):
    folder = folders["distilbert"]
    score = classifier.make(classifier.Options(model=str(folder), label="so-so", output="probability"), CPU)
    expected = logits_of(folder, "w1 w2 w10").softmax(-1)[1]
    torch.testing.assert_close(score(["w1 w2"], [" w10"])[0], expected, atol=1e-6, rtol=0)


def test_the_probability_is_a_sigmoid_where_several_labels_may_apply(save_classifier):
    folder = save_classifier("distilbert", LABELS, "multi_label_classification")
    score = classifier.make(classifier.Options(model=str(folder), label="so-so", output="probability"), CPU)
    expected = logits_of(folder, "w1 w2 w10").sigmoid()[1]
    torch.testing.assert_close(score(["w1 w2"], [" w10"])[0], expected, atol=1e-6, rtol=0)


def test_the_only_label_needs_no_name_and_its_probability_is_a_sigmoid(save_classifier):
    folder = save_classifier("gpt2", ["toxic"])
    logit = classifier.make(classifier.Options(model=str(folder)), CPU)(["w1"], [" w2"])
    probability = classifier.make(classifier.Options(model=str(folder), output="probability"), CPU)(["w1"], [" w2"])
    torch.testing.assert_close(logit[0], logits_of(folder, "w1 w2")[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(probability, 1 / (1 + torch.exp(-logit)), atol=1e-6, rtol=0)


def test_without_the_prompt_the_response_is_read_alone(folders):
    folder = folders["distilbert"]
    score = classifier.make(classifier.Options(model=str(folder), label="bad", include_prompt=False), CPU)
    torch.testing.assert_close(score(["w1 w2"], [" w3 w4"])[0], logits_of(folder, " w3 w4")[0], atol=1e-5, rtol=0)


def test_a_text_over_the_limit_keeps_its_end_and_its_special_tokens(folders):
    # 30 words in 24 positions: [CLS] and [SEP] take two of them, so the last 22 words are read
    words = [f"w{index}" for index in range(30)]
    for kind, room in (("distilbert", 22), ("gpt2", 24)):
        score = classifier.make(classifier.Options(model=str(folders[kind]), label="bad"), CPU)
        expected = logits_of(folders[kind], " ".join(words[-room:]))[0]
        found = score([" ".join(words[:20])], [" " + " ".join(words[20:])])[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_max_length_tokens_counts_special_tokens(folders):
    folder = folders["distilbert"]
    score = classifier.make(classifier.Options(model=str(folder), label="bad", max_length_tokens=4), CPU)
    torch.testing.assert_close(score(["w1 w2 w3"], [" w4"])[0], logits_of(folder, "w3 w4")[0], atol=1e-5, rtol=0)


def test_a_roberta_has_fewer_positions_than_its_config_says(save_classifier):
    # positions begin behind pad token 1, so 24 - 2 = 22 are left, of which [CLS] and [SEP] take two
    folder = save_classifier("roberta", ["bad", "good"])
    words = [f"w{index}" for index in range(2, 40)]
    score = classifier.make(classifier.Options(model=str(folder), label="good"), CPU)
    expected = logits_of(folder, " ".join(words[-20:]))[1]
    torch.testing.assert_close(score([""], [" ".join(words)])[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", BOTH)
def test_an_empty_text_has_a_score(folders, kind):
    score = classifier.make(classifier.Options(model=str(folders[kind]), label="bad"), CPU)
    assert score([""], [""]).isfinite().all()
    assert score([], []).shape == (0,)


def test_scores_carry_no_gradient(folders):
    score = classifier.make(classifier.Options(model=str(folders["gpt2"]), label="bad"), CPU)
    assert not score(["w1"], [" w2"]).requires_grad


@pytest.mark.parametrize("label", ["excellent", "3", 7, "-1"])
def test_an_unknown_label_is_refused_with_the_labels_there_are(folders, label):
    with pytest.raises(ModelError, match=f"no label '{label}'; its labels are 0: bad, 1: so-so, 2: good"):
        classifier.make(classifier.Options(model=str(folders["gpt2"]), label=label), CPU)


def test_two_labels_and_none_chosen_are_refused(save_classifier):
    folder = save_classifier("gpt2", ["NEGATIVE", "POSITIVE"])
    with pytest.raises(ModelError, match=r"2 labels and none is chosen \(0: NEGATIVE, 1: POSITIVE\)"):
        classifier.make(classifier.Options(model=str(folder)), CPU)


def test_lengths_that_the_model_cannot_read_are_refused(folders):
    folder = str(folders["distilbert"])
    with pytest.raises(ModelError, match="at most 24 tokens; max_length_tokens is 25"):
        classifier.make(classifier.Options(model=folder, label="bad", max_length_tokens=25), CPU)
    with pytest.raises(ModelError, match="adds 2 special tokens"):
        classifier.make(classifier.Options(model=folder, label="bad", max_length_tokens=2), CPU)


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="no model folder"):
        classifier.make(classifier.Options(model="./nowhere"), CPU)


def test_unknown_and_impossible_options_are_refused():
    with pytest.raises(ValidationError, match="labels"):
        classifier.Options(model="m", labels="good")
    with pytest.raises(ValidationError, match="output"):
        classifier.Options(model="m", output="odds")
    with pytest.raises(ValidationError, match="microbatch"):
        classifier.Options(model="m", microbatch=0)


def test_several_labels_are_weighed_against_each_other(folders):
    folder = folders["distilbert"]
    logits = torch.stack([logits_of(folder, p + r) for p, r in zip(PROMPTS, RESPONSES, strict=True)])
    for output, of in (("logit", logits), ("probability", logits.softmax(-1))):
        options = classifier.Options(model=str(folder), labels={"good": 1.0, "BAD": -0.5}, output=output)
        expected = of[:, 2] - 0.5 * of[:, 0]
        torch.testing.assert_close(classifier.make(options, CPU)(PROMPTS, RESPONSES), expected, atol=1e-5, rtol=0)


def test_one_label_with_weight_one_is_that_label(folders):
    folder = str(folders["gpt2"])
    one = classifier.make(classifier.Options(model=folder, label="good"), CPU)(PROMPTS, RESPONSES)
    weighed = classifier.make(classifier.Options(model=folder, labels={"good": 1.0}), CPU)(PROMPTS, RESPONSES)
    assert torch.equal(one, weighed)


def test_labels_that_the_model_does_not_have_or_that_are_one_are_refused(folders):
    folder = str(folders["gpt2"])
    with pytest.raises(ModelError, match="no label 'nothate'; its labels are 0: bad, 1: so-so, 2: good"):
        classifier.make(classifier.Options(model=folder, labels={"good": 1.0, "nothate": 1.0}), CPU)
    with pytest.raises(ModelError, match=r"names 'good' of .* twice, once as '2'"):
        classifier.make(classifier.Options(model=folder, labels={"good": 1.0, "2": 1.0}), CPU)


@pytest.mark.parametrize(
    ("labels", "message"),
    [({}, "no weight other than 0"), ({"good": 0.0}, "no weight other than 0"), ({"good": float("inf")}, "finite")],
)
def test_labels_without_weight_are_refused(labels, message):
    with pytest.raises(ValidationError, match=message):
        classifier.Options(model="m", labels=labels)
    with pytest.raises(ValidationError, match="label and labels are both given"):
        classifier.Options(model="m", label="good", labels={"good": 1.0})
