"""Each layout of preferences: what is read, what is written, and that the one gives back the other."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import parts
from appliance.config.reward import Preferences
from appliance.data.convert import WRITERS, convert
from appliance.data.formats._rows import common_length, shared_prompt
from appliance.data.preferences import FOLDER, Ranking, read_preferences
from appliance.data.split import held_out, prompt_key
from appliance.errors import DataError

ASKED = "\n\nHuman: What color is the sky?\n\nAssistant:"


@pytest.fixture
def jsonl(tmp_path: Path):
    """jsonl(row, ...) -> the path of data.jsonl with these rows."""

    def put(*rows: Any) -> str:
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return put


def read(source: str, format: str = "auto") -> list[Ranking]:
    return read_preferences(Preferences(source=source, format=format)).rows  # type: ignore[arg-type]


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


BLUE = Ranking(ASKED, (" It is blue.", " It is green."), (1, 2))


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": ASKED, "chosen": " It is blue.", "rejected": " It is green."}, "pairs"),
        ({"chosen": f"{ASKED} It is blue.", "rejected": f"{ASKED} It is green."}, "hh"),
        (
            {
                "prompt": [user("What color is the sky?")],
                "chosen": [assistant("It is blue.")],
                "rejected": [assistant("It is green.")],
            },
            "pairs",
        ),
        (
            {
                "chosen": [user("What color is the sky?"), assistant("It is blue.")],
                "rejected": [user("What color is the sky?"), assistant("It is green.")],
            },
            "pairs",
        ),
        (  # the prompt as text, and again in both sides
            {
                "prompt": "What color is the sky?",
                "chosen": [user("What color is the sky?"), assistant("It is blue.")],
                "rejected": [user("What color is the sky?"), assistant("It is green.")],
            },
            "pairs",
        ),
        (
            {
                "prompt": "What color is the sky?",
                "chosen": [assistant("It is blue.")],
                "rejected": [assistant("It is green.")],
            },
            "pairs",
        ),
        ({"prompt": ASKED, "responses": [" It is blue.", " It is green."]}, "ranked"),
        ({"prompt": ASKED, "responses": [" It is blue.", " It is green."], "ranks": [0, 4]}, "ranked"),
    ],
)
def test_a_pair_is_read_from_every_layout_and_the_layout_is_said(jsonl, row, name):
    found = read_preferences(Preferences(source=jsonl(row)))
    expected = BLUE._replace(ranks=(1, 5)) if row.get("ranks") else BLUE
    assert found.rows == [expected]
    assert found.notes[0].startswith(f"format {name} taken: ")


def test_system_messages_and_longer_dialogues_are_rendered(jsonl):
    before = [{"role": "system", "content": "Be brief."}, user("Hi"), assistant("Hello"), user("Sky?")]
    row = {"chosen": [*before, assistant("Blue")], "rejected": [*before, assistant("No"), user("Why")]}
    prompt = "\n\nSystem: Be brief.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Sky?\n\nAssistant:"
    assert read(jsonl(row)) == [Ranking(prompt, (" Blue", " No\n\nHuman: Why"), (1, 2))]


def test_sides_of_different_dialogues_are_dropped_and_counted(jsonl):
    good = {"chosen": f"{ASKED} a", "rejected": f"{ASKED} b"}
    other = {"chosen": "\n\nHuman: x\n\nAssistant: a", "rejected": "\n\nHuman: y\n\nAssistant: b"}
    found = read_preferences(Preferences(source=jsonl(good, other)))
    assert found.rows == [Ranking(ASKED, (" a", " b"), (1, 2))]
    assert found.notes[1] == "pairs with different prompts dropped: 1 (data.jsonl line 2)"
    with pytest.raises(DataError, match="no pair is left; pairs with different prompts dropped: 1"):
        read(jsonl(other))
    chats = {"chosen": [user("x"), assistant("a")], "rejected": [user("y"), assistant("b")]}
    with pytest.raises(DataError, match="no pair is left; pairs with different prompts dropped: 1"):
        read(jsonl(chats))
    later = {"chosen": f"{ASKED} a\n\nHuman: x\n\nAssistant: b", "rejected": f"{ASKED} c"}
    notes = read_preferences(Preferences(source=jsonl(later))).notes
    assert notes[1] == "pairs whose dialogues part before the last answer, kept: 1 (data.jsonl line 1)"


def test_equal_sides_of_messages_are_dropped_as_equal(jsonl):
    row = {"chosen": [user("x"), assistant("a")], "rejected": [user("x"), assistant("a")]}
    with pytest.raises(DataError, match="no pair is left; pairs with two equal sides dropped: 1"):
        read(jsonl(row))


# the example of NeMo-Aligner's user guide
NEMO = [
    {"text": "User: When did Virgin Australia start operating?\nAssistant: 31 August 2000"},
    {"text": "User: When did Virgin Australia start operating?\nAssistant: I refuse to answer this question."},
    {"text": "User: What is 6*10?\nAssistant: 60"},
    {"text": "User: What is 6*10?\nAssistant: 90"},
]


def test_nemo_s_lines_go_two_by_two(jsonl):
    assert read(jsonl(*NEMO)) == [
        Ranking(
            "User: When did Virgin Australia start operating?\nAssistant:",
            (" 31 August 2000", " I refuse to answer this question."),
            (1, 2),
        ),
        Ranking("User: What is 6*10?\nAssistant:", (" 60", " 90"), (1, 2)),
    ]


def test_prompts_that_begin_alike_are_no_nemo_file(jsonl):
    rows = [{"text": f"Summary:\n{text}"} for text in ("a b", "a c", "d e", "d f")]
    with pytest.raises(DataError, match="no layout of preferences has these"):
        read(jsonl(*rows))


def test_a_nemo_file_with_a_line_missing_is_refused_with_the_place(jsonl):
    with pytest.raises(DataError) as caught:
        read(jsonl(*NEMO[:3]), "nemo")
    assert caught.value.what.endswith(
        "data.jsonl: 3 lines, and a NeMo file has two a pair, so one is missing or too many; data.jsonl line 3 is left over"
    )
    with pytest.raises(DataError, match=r"the first two that do not share a prompt: data.jsonl line 1 and 2"):
        read(jsonl(NEMO[0], *NEMO[2:]), "nemo")


def test_a_nemo_pair_with_different_prompts_is_refused_with_its_lines(jsonl):
    with pytest.raises(
        DataError, match=r"line 3 and 4: two texts of one pair begin with different prompts: 'User: What"
    ):
        read(jsonl(*NEMO[:2], NEMO[2], {"text": "User: What is 7*10?\nAssistant: 70"}), "nemo")


@pytest.mark.parametrize(
    ("good", "bad", "prompt"),
    [
        ("The film is good", "The film is bad", "The film is"),
        ("The film", "The film is bad", "The"),  # something must be left of both
        ("One line\nTwo words", "One line\nTwo others", "One line\n"),
        ("<|user|>\nHi\n<|assistant|>\nYes", "<|user|>\nHi\n<|assistant|>\nYesterday", "<|user|>\nHi\n<|assistant|>\n"),
        ("Text\nTL;DR: a", "Text\nTL;DR: b", "Text\nTL;DR:"),
        ("Good", "Gone", None),
        ("A B", "C B", None),
        ("Q\nA: x", "R\nA: x", None),
    ],
)
def test_the_prompt_that_two_texts_share_ends_where_a_reader_would_end_it(good, bad, prompt):
    end = shared_prompt(good, bad)
    assert (None if end is None else good[:end]) == prompt


@given(st.text(alphabet="ab", max_size=12), st.text(alphabet="ab", max_size=12))
def test_the_common_length_is_that_of_a_search_letter_by_letter(first, second):
    length = common_length(first, second)
    assert first[:length] == second[:length]
    assert length == min(len(first), len(second)) or first[length] != second[length]


def test_rows_of_one_response_each_are_grouped(jsonl):
    rows = [
        {"prompt": "p", "response": "a", "score": 0.5},
        {"prompt": "q", "response": "x", "score": 1},
        {"prompt": "p", "response": "b", "score": 2},
        {"prompt": "p", "response": "c", "score": 0.5},
    ]
    found = read_preferences(Preferences(source=jsonl(*rows)))
    assert found.rows == [Ranking("p", ("a", "b", "c"), (2, 1, 2))]  # the two of 0.5 tie
    assert found.notes == [
        "format ranked taken: it has the columns prompt, response and score",
        "rankings of fewer than two responses dropped: 1 (data.jsonl line 2)",
    ]
    grouped = [
        {"group": 1, "prompt": "p", "response": "a", "rank": 1},
        {"group": 1, "prompt": "q", "response": "b", "rank": 2},
    ]
    with pytest.raises(DataError, match=r"line 2: another prompt than data.jsonl line 1, which is of the same group"):
        read(jsonl(*grouped))


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"prompt": "p", "responses": "a"}, 'line 1: "responses" is no list of texts'),
        ({"prompt": "p", "responses": ["a", 2]}, 'line 1: "responses" is no list of texts'),
        ({"prompt": "p", "responses": ["a", "b"], "ranks": [1]}, "line 1: 1 ranks for 2 responses"),
        ({"prompt": "p", "responses": ["a", "b"], "ranks": 1}, "line 1: no list of ranks for 2 responses"),
        ({"prompt": "p", "responses": ["a", "b"], "ranks": [1, 1.5]}, "line 1: the rank 1.5 is no whole number"),
        ({"prompt": "p", "responses": ["a", "b"], "ranks": [1, True]}, "line 1: the rank True is no whole number"),
    ],
)
def test_rankings_that_cannot_be_read_are_refused_with_their_line(jsonl, row, what):
    with pytest.raises(DataError, match=what):
        read(jsonl(row))


WORDS = st.text(alphabet="abc äß\"{}\\,'", min_size=1, max_size=12).filter(str.strip)


@st.composite
def rankings(draw: st.DrawFn, *, most: int, ties: bool, dialogue: bool) -> Ranking:
    """A ranking of up to `most` different responses that begin with different letters."""
    count = draw(st.integers(2, most))
    body = draw(WORDS)
    prompt = f"\n\nHuman: {body}\n\nAssistant:" if dialogue else body
    responses = tuple(f" {letter}{draw(WORDS)}" for letter in "xyzw"[:count])
    ranks = draw(st.lists(st.integers(1, count), min_size=count, max_size=count)) if ties else range(1, count + 1)
    ranks = [rank - min(ranks) + 1 for rank in ranks]
    return Ranking(prompt, responses, tuple(ranks))


HOLD = {
    "pairs": {"most": 2, "ties": False, "dialogue": False},
    "pairs-chat": {"most": 2, "ties": False, "dialogue": True},
    "hh": {"most": 2, "ties": False, "dialogue": True},
    "nemo": {"most": 2, "ties": False, "dialogue": True},
    "ranked": {"most": 4, "ties": True, "dialogue": False},
    "ranked-rows": {"most": 4, "ties": True, "dialogue": False},
}
"""What each layout can hold."""


def test_every_layout_is_in_the_table_of_what_it_holds():
    assert set(HOLD) == set(WRITERS)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_what_a_layout_holds_comes_back_as_it_was(name, suffix, data, tmp_path_factory):
    if suffix == ".csv" and name in ("pairs-chat", "ranked"):
        return  # lists, which a .csv refuses
    wanted = data.draw(st.lists(rankings(**HOLD[name]), min_size=1, max_size=4))
    folder = tmp_path_factory.mktemp("trip")
    (folder / "in.jsonl").write_text("".join(json.dumps(one._asdict()) + "\n" for one in wanted))
    done = convert(str(folder / "in.jsonl"), name, folder / f"out{suffix}")
    assert not [note for note in done.notes if "left out" in note or "became" in note or "otherwise" in note]
    layout = next(f for f in parts.names(FOLDER) if name in parts.load(FOLDER, f).WRITERS)
    assert read(str(folder / f"out{suffix}"), layout) == wanted


THREE = {"prompt": ASKED, "responses": [" a", " b", " c"], "ranks": [1, 1, 2]}


@pytest.mark.parametrize("name", ["pairs", "pairs-chat", "hh", "nemo"])
def test_what_a_layout_of_pairs_cannot_hold_is_said(jsonl, tmp_path, name):
    done = convert(jsonl(THREE, THREE), name, tmp_path / "out.jsonl")
    assert done.notes[2:] == [
        f"2 ties left out: {name} holds pairs of which one side is better",
        f"2 rankings became 4 pairs: {name} holds two responses at a time",
    ]
    assert (
        read(str(tmp_path / "out.jsonl"), "nemo" if name == "nemo" else "auto")
        == [
            Ranking(ASKED, (" a", " c"), (1, 2)),
            Ranking(ASKED, (" b", " c"), (1, 2)),
        ]
        * 2
    )


def test_only_ties_leave_nothing_for_pairs(jsonl, tmp_path):
    with pytest.raises(DataError, match=r"nothing is left to write: .*1 ties left out"):
        convert(jsonl({"prompt": "p", "responses": ["a", "b"], "ranks": [1, 1]}), "pairs", tmp_path / "out.jsonl")
    assert not list(tmp_path.glob("out*"))


def test_prompts_that_are_no_dialogue_are_refused_by_hh_and_said_by_chat(jsonl, tmp_path):
    source = jsonl({"prompt": "p", "chosen": " a", "rejected": " b"})
    with pytest.raises(DataError, match=r"hh holds dialogues: 1 of 1 prompts do not end with") as caught:
        convert(source, "hh", tmp_path / "out.jsonl")
    assert "--template" in caught.value.fix
    done = convert(source, "hh", tmp_path / "out.jsonl", template="\n\nHuman: {prompt}\n\nAssistant:")
    assert read(str(tmp_path / "out.jsonl")) == [Ranking("\n\nHuman: p\n\nAssistant:", (" a", " b"), (1, 2))]
    done = convert(source, "pairs-chat", tmp_path / "out.jsonl", force=True)
    assert done.notes[-1] == "1 prompts are no dialogue of Human and Assistant: each became one user message"


def test_prompts_that_nemo_would_cut_elsewhere_are_counted(jsonl, tmp_path):
    done = convert(
        jsonl({"prompt": "Once", "chosen": " upon a", "rejected": " upon the"}), "nemo", tmp_path / "o.jsonl"
    )
    assert done.notes[-1].startswith("1 pairs will be read with another end of the prompt")
    assert read(str(tmp_path / "o.jsonl"), "nemo") == [Ranking("Once upon", (" a", " the"), (1, 2))]


def test_no_prompt_of_a_layout_stands_on_both_sides_of_a_split(jsonl):
    rows = [
        {
            "chosen": f"\n\nHuman: question{space}{i % 12}\n\nAssistant: a{i}",
            "rejected": f"\n\nHuman: question{space}{i % 12}\n\nAssistant: b",
        }
        for i in range(60)
        for space in (" ", "  ")
    ]
    found = read(jsonl(*rows))
    keys = [prompt_key(one.prompt) for one in found]
    aside = held_out(keys, 0.25, seed=3)
    sides = {bare: {out for key, out in zip(keys, aside, strict=True) if key == bare} for bare in keys}
    assert len(sides) == 12
    assert all(len(side) == 1 for side in sides.values())
    assert sum(True in side for side in sides.values()) == 3
