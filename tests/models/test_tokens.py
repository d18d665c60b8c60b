"""Texts to tokens and back: prompts are cut by number of tokens, a response's text is what it adds to its prompt."""

from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from appliance.config.base import TokenRange
from appliance.errors import DataError
from appliance.models import tokens
from appliance.models.tokens import (
    check_context,
    context_tokens,
    decoder,
    stop_ids,
    to_text,
    token_ids,
    tokenize_prompts,
)

TEXTS = [" ".join(f"w{i}" for i in range(count)) for count in (6, 1, 3, 9)]
# w0 is token 2, and so on in the order of the words' text: w1 3, then w10 ... w19 4 to 13, w2 14, w3 25
FIRST = [2, 3, 14, 25]


def test_whole_texts_become_their_tokens(tokenizer):
    made = tokenize_prompts(tokenizer, TEXTS, length=None, seed=1)
    assert [len(ids) for ids in made.ids] == [6, 1, 3, 9]
    assert made.ids[2] == FIRST[:3]
    assert made.texts == TEXTS
    assert made.notes == []


def test_texts_are_cut_to_a_drawn_length_and_short_ones_left_out(tokenizer):
    made = tokenize_prompts(tokenizer, TEXTS, length=TokenRange(low=2, high=4), seed=1)
    assert len(made) == 3
    assert made.notes == ["1 prompts with fewer than 2 tokens were left out"]
    for text, ids in zip(made.texts, made.ids, strict=True):
        assert 2 <= len(ids) <= 4
        assert ids == FIRST[: len(ids)]
        assert text == " ".join(["w0", "w1", "w2", "w3"][: len(ids)])  # the text is what the tokens say


def test_lengths_depend_on_the_seed_and_on_the_text_s_place_alone(tokenizer):
    many = [TEXTS[3]] * 40
    length = TokenRange(low=2, high=8)

    def lengths(texts: list[str], seed: int) -> list[int]:
        return [len(ids) for ids in tokenize_prompts(tokenizer, texts, length=length, seed=seed).ids]

    assert lengths(many, 1) == lengths(many, 1)
    assert lengths(many, 1) != lengths(many, 2)
    assert set(lengths(many, 1)) == set(range(2, 9))
    assert lengths(["w0", *many], 1) == lengths(["w1", *many], 1)
    assert lengths(many[:9], 1) == lengths(many, 1)[:9]


def test_an_end_token_that_the_tokenizer_adds_is_taken_off(tokenizer):
    def ends(texts: list[str], **_: bool) -> dict[str, list[list[int]]]:
        return {"input_ids": [[*ids, 0] for ids in tokenizer(texts)["input_ids"]]}

    class Ending:
        eos_token_id = 0
        __call__ = staticmethod(ends)

    assert tokenize_prompts(Ending(), TEXTS, length=None, seed=1).ids[2] == FIRST[:3]


def test_empty_texts_are_left_out_and_no_texts_are_none(tokenizer):
    made = tokenize_prompts(tokenizer, ["w0", ""], length=None, seed=1)
    assert made.texts == ["w0"]
    assert made.notes == ["1 prompts with fewer than 1 tokens were left out"]
    assert len(tokenize_prompts(tokenizer, [], length=None, seed=1)) == 0


def test_picked_rows_are_one_padded_record(tokenizer):
    made = tokenize_prompts(tokenizer, TEXTS, length=None, seed=1).pick([2, 1])
    assert made.texts == [TEXTS[2], TEXTS[1]]
    assert made.lengths.tolist() == [3, 1]
    assert made.ids.tolist() == [FIRST[:3], [2, 0, 0]]


def model_with(**config: object) -> SimpleNamespace:
    """The part of a model that is asked for."""
    text = SimpleNamespace(vocab_size=97, **config)
    config = SimpleNamespace(get_text_config=lambda: text, is_encoder_decoder=False)
    return SimpleNamespace(config=config, generation_config=None)


def test_a_prompt_that_leaves_no_room_is_named_with_what_would_fit(tokenizer):
    made = tokenize_prompts(tokenizer, TEXTS, length=None, seed=1)
    check_context(made, 3, model_with(max_position_embeddings=12), origin="p.txt")  # 9 + 3
    check_context(made, 500, model_with(), origin="p.txt")  # a model that does not say
    with pytest.raises(DataError) as caught:
        check_context(made, 7, model_with(max_position_embeddings=12), origin="p.txt")
    assert caught.value.what.startswith("p.txt: 2 of 4 prompts are too long, the longest with 9 tokens ('w0 w1 w2")
    assert "[2, 5]" in caught.value.fix  # 12 - 7


def test_the_context_is_the_model_s(model_folder, make_policy):
    assert context_tokens(make_policy(model_folder).model.lm) == 64


def test_a_response_ends_at_the_tokenizer_s_end_and_at_each_of_the_model_s(tokenizer):
    model = model_with()
    assert stop_ids(model, tokenizer) == (0,)
    for own, expected in ((5, (0, 5)), ([7, 5], (0, 5, 7)), (None, (0,)), ([0, 200], (0,))):  # 200 is no token of it
        model.generation_config = SimpleNamespace(eos_token_id=own)
        assert stop_ids(model, tokenizer) == expected


# --- text


@pytest.fixture
def dropping() -> PreTrainedTokenizerFast:
    """Words begin with a mark for their space, and the first word's space is dropped, as sentencepiece does."""
    words = {"<eos>": 0, "▁a": 1, "▁b": 2, "c": 3}
    made = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>")


def test_a_response_s_text_is_what_it_adds_to_its_prompt(dropping):
    decode = decoder(dropping)
    assert to_text(dropping, [[1, 2], [2]]) == ["a b", "b"]
    assert decode([[1], [1], [1]], [[2, 3], [3, 2], [2, 0]]) == [" bc", "c b", " b"]


def test_characters_split_between_prompt_and_response_are_read_apart():
    """A byte-level tokenizer may begin a character in the prompt and end it in the response."""
    alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(alphabet, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made)
    ids = tokenizer("xü y")["input_ids"]
    assert len(ids) == 5  # x, two bytes of ü, space, y
    first, second, third = decoder(tokenizer)([ids[:2], ids[:3], ids[:1]], [ids[2:], ids[3:], ids[1:]])
    assert first.endswith(" y")  # the torn letter is lost, the rest is not
    assert (second, third) == (" y", "ü y")


def test_texts_are_tokenized_in_blocks_and_keep_their_order(tokenizer, monkeypatch):
    monkeypatch.setattr(tokens, "BLOCK", 2)
    sizes = []

    def seen(texts: list[str], **options: bool) -> dict[str, list[list[int]]]:
        sizes.append(len(texts))
        return tokenizer(texts, **options)

    assert list(token_ids(seen, TEXTS[:3])) == [tokenizer(text)["input_ids"] for text in TEXTS[:3]]
    assert sizes == [2, 1]
    assert list(token_ids(seen, [])) == []


def test_a_prompt_whose_response_stands_apart_ends_with_a_space(tokenizer):
    # what judges prompt and response together joins them as they are: "w0 w1" and "w2" must not become "w1w2"
    found = tokenize_prompts(
        tokenizer, ["w0 w1", "w0\n", "w0 w1 w2"], length=TokenRange(low=1, high=2), seed=1, apart=True
    )
    assert all(text[-1].isspace() for text in found.texts)
    assert found.texts[1] == "w0\n"
    whole = tokenize_prompts(tokenizer, ["w0 w1"], length=None, seed=1, apart=True)
    assert (whole.texts, whole.ids) == (["w0 w1 "], [FIRST[:2]])
