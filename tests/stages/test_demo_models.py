"""The demo's tokenizers: the same texts give the same one, every time."""

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerFast

from appliance.stages.demo_models import VOCABULARY, bpe_tokenizer, wordpiece_tokenizer

TEXTS = [
    f"Film {i} was quite unaffecting; its {'xyz'[i % 3]}{i * 37 % 101}th minute, however, dazzled us."
    for i in range(400)
]


@pytest.mark.parametrize("train", [bpe_tokenizer, wordpiece_tokenizer])
def test_two_trainings_on_the_same_texts_give_one_tokenizer(train: Callable[[list[str]], PreTrainedTokenizerFast]):
    # the library's hash tables are ordered anew at each training, in one process too
    first, *others = (train(TEXTS).backend_tokenizer.to_str() for _ in range(4))
    assert all(other == first for other in others)


def test_words_are_cut_into_pieces_of_the_vocabulary():
    made = wordpiece_tokenizer(TEXTS)
    assert len(made) <= VOCABULARY
    ids = made("FILM 7 dazzled us")["input_ids"]
    assert made.convert_ids_to_tokens(ids) == ["[CLS]", "film", "7", "dazzled", "us", "[SEP]"]
    assert made.decode(ids, skip_special_tokens=True) == "film 7 dazzled us"
    assert set(made.all_special_ids) == {0, 1, 2, 3, 4}
    assert made.unk_token_id in made("\u732b")["input_ids"]
