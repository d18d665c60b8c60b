"""The invented reviews: distinct, balanced, openings that take no side, pairs whose order is right."""

import re
from statistics import mean

import pytest

from appliance.data import films
from appliance.data.films_words import BLAME, NEUTRAL, PRAISE

SIDED = films.POSITIVE_WORDS | films.NEGATIVE_WORDS


@pytest.fixture(scope="module")
def corpus() -> list[films.Review]:
    return films.reviews(8000, seed=0)


@pytest.fixture(scope="module")
def pairs() -> list[dict[str, str]]:
    return films.preference_pairs(3000, seed=0)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def first_sided(text: str) -> int:
    return next(index for index, word in enumerate(words(text)) if word in SIDED)


def test_reviews_are_distinct_balanced_and_of_readable_length(corpus):
    assert len({text for text, _ in corpus}) == 8000
    assert sum(positive for _, positive in corpus) == 4000
    lengths = [len(text.split()) for text, _ in corpus]
    assert min(lengths) >= 15
    assert max(lengths) <= 60
    assert {text.count(".") for text, _ in corpus} == {1, 2, 3, 4}
    assert all(text.endswith(".") and text[0].isupper() for text, _ in corpus)


def test_a_review_is_positive_when_praise_prevails_and_some_hold_both(corpus):
    counts = [(films.praise_and_blame(text), positive) for text, positive in corpus]
    assert all((praise > blame) == positive and praise != blame for (praise, blame), positive in counts)
    assert 0.25 < mean(min(both) > 0 for both, _ in counts) < 0.4


def test_the_first_eight_words_of_a_review_take_no_side(corpus):
    assert min(first_sided(text) for text, _ in corpus) >= 8


def test_the_vocabulary_fits_a_small_tokenizer(corpus):
    assert 400 <= len({word for text, _ in corpus for word in words(text)}) <= 700


def test_articles_agree_with_the_word_behind_them(corpus):
    assert not [text for text, _ in corpus if re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text)]


def test_reviews_follow_from_the_seed():
    assert films.reviews(20, seed=3) == films.reviews(20, seed=3)
    assert films.reviews(20, seed=3) != films.reviews(20, seed=4)
    assert films.preference_pairs(20, seed=3) == films.preference_pairs(20, seed=3)
    assert films.openings(20, 3) == films.openings(20, 3)


def test_more_texts_than_the_maximum_are_refused_by_number():
    with pytest.raises(ValueError, match="100000"):
        films.reviews(100_001, seed=0)
    with pytest.raises(ValueError, match="100000"):
        films.preference_pairs(100_001, seed=0)
    with pytest.raises(ValueError, match="there are 1683 with held_out=True"):
        films.openings(10_000, 0, held_out=True)


def test_praise_and_blame_are_single_lower_case_words_that_occur_nowhere_else():
    assert not films.POSITIVE_WORDS & films.NEGATIVE_WORDS
    assert all(word.islower() and word.isalpha() for word in SIDED)
    assert PRAISE.keys() == BLAME.keys()
    leads = [lead for group in (films.WHOLE_LEADS, films.PART_LEADS) for leads in group.values() for lead in leads]
    begun = [opening for group in films.OPENINGS.values() for opening in group]
    entries = [entry for group in NEUTRAL.values() for entry in group]
    fixed = [*leads, *begun, *entries, *films.WHOLE, *films.PART, *films.ASIDES, *films.CONTRASTS]
    assert not {word for text in fixed for word in words(text)} & SIDED


def test_openings_are_distinct_short_and_take_no_side():
    for held_out in (False, True):
        begun = films.openings(1600, 0, held_out=held_out)
        assert len(set(begun)) == 1600
        assert {len(opening.split()) for opening in begun} <= set(range(5, 11))
        assert not {word for opening in begun for word in words(opening)} & SIDED


def test_held_out_openings_begin_no_review_no_pair_and_no_training_opening(corpus, pairs):
    held_out = {tuple(words(opening)) for opening in films.openings(1683, 0, held_out=True)}
    texts = [text for text, _ in corpus] + [pair["prompt"] for pair in pairs] + films.openings(11_000, 0)
    beginnings = {tuple(words(text)[:length]) for text in texts for length in range(4, 12)}
    assert not held_out & beginnings


def test_chosen_is_kinder_than_rejected(pairs):
    def kind(text: str) -> int:
        praise, blame = films.praise_and_blame(text)
        return 0 if praise and blame else 1 if praise else -1

    both_mixed = 0
    for pair in pairs:
        chosen, rejected = pair["chosen"], pair["rejected"]
        assert kind(chosen) >= kind(rejected)
        if kind(chosen) == kind(rejected):
            assert kind(chosen) == 0
            surplus = [praise - blame for praise, blame in map(films.praise_and_blame, (chosen, rejected))]
            assert surplus[0] > surplus[1]
            both_mixed += 1
    assert both_mixed > 30


def test_pairs_are_distinct_and_continue_a_neutral_prompt(pairs):
    assert len({tuple(pair.values()) for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert not set(words(pair["prompt"])) & SIDED
        assert pair["chosen"][0] in " ,"
        assert pair["rejected"][0] in " ,"


def test_the_length_of_a_response_does_not_say_which_was_chosen(pairs):
    chosen = [len(pair["chosen"].split()) for pair in pairs]
    rejected = [len(pair["rejected"].split()) for pair in pairs]
    assert min(chosen + rejected) >= 6
    assert max(chosen + rejected) <= 30
    # 3000 signs with a chance of one half each: a standard error of 0.009; the mean of differences of std 7: 0.13
    longer = [a > b for a, b in zip(chosen, rejected, strict=True) if a != b]
    assert abs(mean(longer) - 0.5) < 0.03
    assert abs(mean(chosen) - mean(rejected)) < 0.4


def test_some_pairs_are_cut_inside_a_sentence(pairs):
    assert 0.15 < mean(not pair["chosen"].endswith(".") for pair in pairs) < 0.45
