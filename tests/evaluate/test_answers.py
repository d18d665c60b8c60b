"""Before and after: two models read from disk, asked the same prompts with the same random numbers."""

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from appliance.errors import ApplianceError
from appliance.evaluate import answers
from appliance.evaluate.answers import Judges, compare
from appliance.evaluate.records import Comparison
from appliance.ppo.feed import prompts_from_ids
from appliance.progress import Progress

PROMPTS = prompts_from_ids([[5, 6, 7], [9], [11, 12]], ["w11 w12 w13", "w16", "w18 w19"])


def words(prompts: list[str], responses: list[str]) -> torch.Tensor:
    """A score that shows which prompt it belongs to: its length in letters, and a hundredth for each word written."""
    return torch.tensor([len(p) + len(r.split()) / 100 for p, r in zip(prompts, responses, strict=True)])


def minus(prompts: list[str], responses: list[str]) -> torch.Tensor:
    """The other judge."""
    return -words(prompts, responses)


@pytest.fixture(scope="module")
def changed(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model whose weights differ a little from the tiny GPT-2's."""
    folder = tmp_path_factory.mktemp("changed") / "model"
    shutil.copytree(folder_of("gpt2"), folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def ask(folder_of: Any, ppo_config: Any, precision: Any) -> Callable[..., Comparison]:
    """ask(result, samples=4, opinion=...): the comparison of the tiny GPT-2 with the model in `result`."""

    def run(result: Path, samples: int = 4, opinion: Any = None, **sections: Any) -> Comparison:
        sampling = {"response_tokens": [3, 9]} | sections.pop("sampling", {})
        config = ppo_config(folder_of("gpt2"), sampling=sampling, **sections)
        shown = Progress("Report", 2 * 3 * samples, 0, bars=False, stream=StringIO())
        made = compare(
            config,
            result,
            PROMPTS,
            samples,
            Judges(words, opinion),
            precision=precision,
            notice=lambda _: None,
            shown=shown,
        )
        assert shown.done == shown.total
        return made

    return run


def test_the_same_weights_give_the_same_answers_and_no_drift(ask, folder_of):
    made = ask(folder_of("gpt2"))
    assert made.before == made.after
    assert made.after.kl == [[0.0] * 4] * 3
    assert len({text for row in made.before.texts for text in row}) > 8  # the samples of a prompt differ


def test_other_weights_answer_otherwise_and_drift(ask, changed):
    made = ask(changed)
    assert made.before.texts != made.after.texts
    assert made.before.kl == [[0.0] * 4] * 3
    drift = torch.tensor(made.after.kl)
    assert float(drift.abs().min()) > 0
    assert float(drift.mean()) > 0


def test_rows_stand_with_their_prompts(ask, changed):
    made = ask(changed, samples=3, opinion=minus)
    assert made.prompts == list(PROMPTS.texts)
    for side in (made.before, made.after):
        for prompt, texts, scores, tokens, opinions in zip(
            made.prompts, side.texts, side.scores, side.tokens, side.opinion, strict=True
        ):
            assert len(texts) == len(scores) == len(tokens) == 3
            assert [int(score) for score in scores] == [len(prompt)] * 3
            assert scores == pytest.approx([len(prompt) + len(text.split()) / 100 for text in texts])
            assert opinions == [-score for score in scores]
            assert all(3 <= count <= 9 for count in tokens)


def test_both_sides_have_the_same_length_limits(ask, changed):
    made = ask(changed, sampling={"stop_at_eos": False})
    assert made.before.tokens == made.after.tokens  # each response goes on to its limit
    assert len({count for row in made.before.tokens for count in row}) > 3


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_drift_and_surprise_are_sums_over_the_tokens(temperature, ask, changed, folder_of):
    """kl = sum log p_after - log p_start, of the distributions sampled from; start_nll = -sum log p_start at temperature 1.

    Counted again from the texts, word by word.
    """
    made = ask(changed, samples=3, sampling={"stop_at_eos": False, "temperature": temperature})
    start = AutoModelForCausalLM.from_pretrained(folder_of("gpt2")).eval()
    after = AutoModelForCausalLM.from_pretrained(changed).eval()
    tokenizer_words = {f"w{i}": None for i in range(95)}
    order = {word: number for number, word in enumerate(sorted(tokenizer_words), start=2)}
    checked = 0
    for row, prompt in enumerate(PROMPTS.ids.tolist()):
        asked = prompt[: int(PROMPTS.lengths[row])]
        for sample, text in enumerate(made.after.texts[row]):
            written = [order[word] for word in text.split() if word in order]
            if len(written) != made.after.tokens[row][sample]:
                continue  # a special token was sampled, which no text shows
            ids = torch.tensor([[*asked, *written]])
            with torch.no_grad():
                of_start, of_after = (model(input_ids=ids).logits[0, len(asked) - 1 : -1] for model in (start, after))
            chosen = torch.tensor(written)[:, None]
            plain = of_start.log_softmax(-1).gather(1, chosen).sum()
            old, new = (
                (logits / temperature).log_softmax(-1).gather(1, chosen).sum() for logits in (of_start, of_after)
            )
            assert made.after.start_nll[row][sample] == pytest.approx(-float(plain), abs=1e-4)
            assert made.after.kl[row][sample] == pytest.approx(float(new - old), abs=1e-4)
            checked += 1
    assert checked >= 3


def test_the_seed_alone_decides_the_answers(ask, changed):
    assert ask(changed) == ask(changed)
    assert ask(changed, seed=1).before.texts != ask(changed, seed=2).before.texts


def test_more_answers_than_fit_at_a_time_are_the_same(ask, changed, monkeypatch):
    whole = ask(changed)
    monkeypatch.setattr(answers, "AT_A_TIME", 5)
    pieces = ask(changed)
    assert pieces.after.texts == whole.after.texts
    assert torch.tensor(pieces.after.kl) == pytest.approx(torch.tensor(whole.after.kl), abs=1e-5)


def test_weights_that_overflowed_are_a_message(ask, changed, tmp_path):
    shutil.copytree(changed, tmp_path / "overflowed")
    model = AutoModelForCausalLM.from_pretrained(changed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e38)
    model.save_pretrained(tmp_path / "overflowed")
    with pytest.raises(ApplianceError, match="log-probabilities are not finite: its weights have overflowed") as caught:
        ask(tmp_path / "overflowed")
    assert "lower optimizer.learning_rate" in caught.value.fix
