"""What of the preference data is trained on and what is held out: prompts on one side, long responses left out, ties kept."""

import pytest

from appliance.config import RewardConfig
from appliance.data.preferences import Ranking
from appliance.errors import DataError
from appliance.stages.reward_rows import count_pairs, key_of, long_notes, split, token_rows

# w0 is token 2, w1 3, w10 4, w11 5 (in the order of the words' text)


def config(limit: int = 512, share: float = 0.1) -> RewardConfig:
    """A config with this length limit and held-out share."""
    return RewardConfig.model_validate(
        {
            "model": {"model": "m"},
            "data": {"source": "p.jsonl", "held_out_share": share},
            "training": {"max_length_tokens": limit},
        }
    )


def pair(prompt: str, chosen: str, rejected: str) -> Ranking:
    """A ranking of two."""
    return Ranking(prompt, (chosen, rejected), (1, 2))


def test_pairs_are_tokenized_whole_and_long_ones_left_out(tokenizer):
    rankings = [pair("w0 ", "w1", "w10"), pair("w0 ", "w1 w1 w1", "w10"), pair("", "w1", "w11")]
    found = token_rows(rankings, config(3), tokenizer)
    assert found.rows == [
        {"responses": [[2, 3], [2, 4]], "ranks": [1, 2]},
        {"responses": [[3], [5]], "ranks": [1, 2]},
    ]
    assert (found.pairs, found.ties) == (2, 0)
    assert found.notes == ["1 pairs longer than 3 tokens were left out"]
    with pytest.raises(
        DataError, match=r"p\.jsonl: no pair is left to train on with training\.max_length_tokens 3"
    ) as e:
        token_rows(rankings[1:2], config(3), tokenizer)
    assert e.value.fix == "raise it, or give shorter texts"


def test_a_long_response_leaves_the_rest_of_its_ranking(tokenizer):
    rankings = [
        Ranking("w0 ", ("w1", "w10 w10 w10", "w11"), (3, 1, 1)),
        Ranking("w0 ", ("w1 w1 w1", "w10 w10 w10", "w11"), (1, 2, 3)),
    ]
    found = token_rows(rankings, config(3), tokenizer)
    assert found.rows == [{"responses": [[2, 3], [2, 5]], "ranks": [3, 1]}]
    assert found.notes == [
        "1 rankings longer than 3 tokens were left out",
        "1 responses longer than 3 tokens were left out of their rankings",
    ]


def test_long_held_out_responses_are_measured_and_said(tokenizer):
    rankings = [Ranking("w0 ", ("w1", "w10 w10 w10", "w11"), (3, 1, 1))]
    assert long_notes(rankings, config(4), tokenizer) == []
    (note,) = long_notes(rankings, config(3), tokenizer)
    assert note.startswith("1 of 3 held-out responses are longer than 3 tokens: they are measured all the same")


def test_only_ties_are_nothing_to_train_on(tokenizer):
    with pytest.raises(DataError, match=r"no pair is left to train on .*, only 1 ties") as e:
        token_rows([Ranking("w0 ", ("w1", "w10"), (1, 1))], config(), tokenizer)
    assert e.value.fix == "give rankings in which some response is better"


def test_pairs_and_ties_of_a_ranking_are_counted():
    # ranks 1 1 2 3 3: ten pairs of two, of which 1-1 and 3-3 are ties
    assert count_pairs([Ranking("", tuple("abcde"), (1, 1, 2, 3, 3)), pair("", "a", "b")]) == (9, 2)


def test_a_prompt_is_on_one_side_and_whole_texts_go_by_the_best_of_them():
    assert key_of(Ranking("p", ("a", "b"), (2, 1))) == "p"
    assert key_of(Ranking("", ("a", "b", "c"), (2, 1, 1))) == "b"
    rankings = [pair(f"p{i % 10}", f"good {i}", f"bad {i}") for i in range(40)]
    found = split(rankings, config(share=0.3))
    assert (len(found.train), len(found.test)) == (28, 12)
    assert not {r.prompt for r in found.train} & {r.prompt for r in found.test}


def test_held_out_ties_alone_are_no_measure():
    ties = [Ranking(f"p{i}", ("a", "b"), (1, 1)) for i in range(10)]
    with pytest.raises(DataError, match="the 1 held-out rankings hold only ties"):
        split(ties, config())
    with pytest.raises(DataError, match="all 3 rankings have one prompt"):
        split([Ranking("p", ("a", "b", str(i)), (1, 2, 3)) for i in range(3)], config())


def test_whole_texts_that_begin_alike_are_of_one_prompt():
    first = pair("", "Question: why?\nAnswer: so it is", "Question: why?\nAnswer: no")
    second = pair("", "Question: why?\nAnswer: because", "Question: why?\nAnswer: nothing")
    assert key_of(first) == key_of(second) == "Question: why? Answer:"
    assert key_of(pair("", "The sky is blue.", "The sky is green.")) == "The sky is"
    assert key_of(pair("", "I liked it", "I did not")) == "I liked it"  # one word says nothing
    assert key_of(pair(" \n", "a", "b")) == "a"
