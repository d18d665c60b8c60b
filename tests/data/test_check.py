"""What `check` understands of a file: kind, column, lengths, problems with their lines, and the lines of a config."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.config.ppo import Prompts
from appliance.config.reward import Preferences
from appliance.config.sft import Demonstrations
from appliance.data.check import Checked, Lengths, Problem, check
from appliance.data.columns import Column
from appliance.data.demonstrations import read_demonstrations
from appliance.data.preferences import read_preferences
from appliance.data.prompts import read_prompts


@pytest.fixture
def write(tmp_path: Path):
    """write("a.txt", "text" or bytes, or a list of rows) -> its path as text."""

    def put(name: str, content: str | bytes | list[Any]) -> str:
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return str(tmp_path / name)

    return put


def config(found: Checked) -> dict[str, Any]:
    (section,) = yaml.safe_load(found.config).values()
    return section


def test_prompts_with_every_problem_are_listed_with_their_lines(write):
    long = "x" * 20_001
    source = write("a.txt", f"The film\n\nIn it\nThe film\n{long}\n")
    found = check(source)
    assert found.usable
    assert (found.kind, found.rows, found.usable_rows, found.encoding) == ("prompts", 5, 3, "UTF-8")
    assert found.columns == (Column("text", "text", 0.8),)
    assert found.lengths == (Lengths("prompt", 5, 8, 20_001, 20_001),)
    assert found.problems == (
        Problem("blank", "blank rows dropped", 1, ("a.txt line 2",), (2,)),
        Problem("repeated", "repeated prompts dropped", 1, ("a.txt line 4",), (4,)),
        Problem(
            "long", "texts over 20,000 characters, which most models here do not read, kept", 1, ("a.txt line 5",), (5,)
        ),
    )
    assert found.examples[:2] == ({"prompt": "The film"}, {"prompt": "In it"})
    assert len(found.examples[2]["prompt"]) == 2003  # cut, with three dots
    assert found.preview[1] == {"text": ""}
    assert found.config == f"prompts:\n  source: {source}\n"


def test_every_broken_line_is_listed_and_the_file_refused(write):
    source = write("a.jsonl", '{"text": "a"}\n{"text": \n{"text": 5}\n{"text": "b"}\n[1]\n')
    found = check(source)
    assert not found.usable
    assert (found.rows, found.usable_rows) == (5, 2)
    assert found.problems == (
        Problem("broken", "lines that cannot be read", 2, ("a.jsonl line 2", "a.jsonl line 5"), (2, 5), True),
        Problem("broken", "rows that cannot be read", 1, ("a.jsonl line 3",), (3,), True),
    )
    assert found.error is not None
    assert found.error[0].startswith("a.jsonl line 2: not JSON")
    assert found.columns == (Column("text", "mixed: 2 text, 1 number", 1.0),)


def test_lines_of_a_csv_with_other_fields_are_listed(write):
    found = check(write("a.csv", "text,id\na,1\nb,c,2\nd,3\ne\n"))
    assert found.problems[0].numbers == (3, 5)
    assert found.columns == (Column("text", "text", 1.0), Column("id", "number", 1.0))
    assert (found.column, found.column_why) == ("text", "its name is the usual one")


def test_places_stay_right_when_rows_before_them_are_broken(write):
    found = check(write("a.jsonl", [{"text": 1}, {"text": "a"}, {"text": None}, {"text": "b"}, {"text": "a"}]))
    assert [(problem.kind, problem.numbers) for problem in found.problems] == [("broken", (1, 3)), ("repeated", (5,))]


def test_prompts_are_read_by_the_lines_that_check_gives(write):
    rows = [{"id": f"d{i}", "dialogue": f"Hello {i}", "topic": "t"} for i in range(3)]
    source = write("a.jsonl", rows)
    found = check(source, template="Summarize: {dialogue}\nSummary:")
    assert (found.kind, found.column, found.column_why) == ("prompts", "dialogue", "the template names it")
    assert r'template: "Summarize: {dialogue}\nSummary:"' in found.config
    assert read_prompts(Prompts(**config(found))).texts == [f"Summarize: Hello {i}\nSummary:" for i in range(3)]


def test_demonstrations_are_known_by_prompts_and_answers(write):
    source = write("a.jsonl", [{"question": "q", "answer": "a"}, {"question": "r", "answer": " "}])
    found = check(source)
    assert (found.kind, found.kind_why) == ("demonstrations", "it has prompts (question) and answers (answer)")
    assert config(found) == {"source": source, "column": "answer", "prompt_column": "question"}
    assert found.examples == ({"prompt": "q", "text": "a"},)
    assert [one.of for one in found.lengths] == ["text", "prompt"]
    assert read_demonstrations(Demonstrations(**config(found))).rows == [("q", "a")]
    assert check(source, column="question").kind == "prompts"
    assert check(source, "prompts").column == "question"
    whole = check(write("b.txt", "a\n"), "demonstrations")
    assert (whole.usable, whole.examples) == (True, ({"text": "a"},))


def test_preferences_are_known_by_their_layout(write):
    source = write("a.jsonl", [{"prompt": "p", "responses": ["a", "bb"], "ranks": [2, 1]}])
    found = check(source)
    assert (found.kind, found.format) == ("preferences", "ranked")
    assert found.examples == ({"prompt": "p", "best": "bb", "worst": "a"},)
    assert found.lengths == (Lengths("prompt", 1, 1, 1, 1), Lengths("response", 1, 1, 2, 2))
    assert found.columns[1:] == (Column("responses", "list", 1.0), Column("ranks", "list", 1.0))
    assert len(read_preferences(Preferences(**config(found))).rows) == 1


def test_preferences_list_broken_and_different_rows(write):
    rows: list[Any] = [{"prompt": "p", "chosen": f"a{i}", "rejected": "b"} for i in range(4)]
    rows[1]["rejected"], rows[2]["chosen"] = None, "b"
    found = check(write("a.jsonl", rows))
    assert [(problem.kind, problem.numbers) for problem in found.problems] == [("broken", (2,)), ("other", (3,))]
    assert not found.usable
    odd = check(write("b.jsonl", [{"text": "User: a\nAssistant: b"}] * 3), format="nemo")
    assert odd.kind == "preferences"
    assert odd.error is not None
    assert "3 lines, and a NeMo file has two a pair" in odd.error[0]


@pytest.mark.parametrize(
    ("name", "content", "options", "what"),
    [
        ("a.json", '[{"text": "a"', {}, "the text is cut off"),
        ("a.txt", "", {}, "is empty"),
        ("a.txt", "\n \n", {}, "no row is left that could be used"),
        ("a.jsonl", '{"text"\n', {}, "line 1: not JSON"),
        ("a.csv", "a,b\nx,y\n", {}, 'no "prompt" or "text" key'),
        ("a.csv", "a,b\nx,y\n", {"column": "c"}, 'no "c" key; the keys are: a, b'),
        ("a.txt", "x\n", {"template": "none"}, "template: String should match"),
        ("a.txt", "x\n", {"template": "{story}"}, "the template names {story}"),
        ("a.txt", "x\n", {"kind": "preferences"}, "no layout of preferences has these"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_result_with_a_fix(write, name, content, options, what):
    found = check(write(name, content), **options)
    assert not found.usable
    assert found.error is not None
    assert what in found.error[0]
    assert found.error[1]


def test_encodings_and_marks_are_in_the_result(write):
    found = check(write("a.txt", "Grüße\n".encode("cp1252")))
    assert (found.usable, found.encoding) == (True, "Windows-1252")
    assert found.notes[0].startswith("a.txt is not UTF-8")
    assert check(write("a.txt", b"\xef\xbb\xbfa\n")).encoding == "UTF-8 with a mark"


def test_places_and_previews_are_bounded(write):
    found = check(write("a.txt", "a\n" + "\n" * 1500))
    (blank,) = found.problems
    assert (blank.count, len(blank.places), len(blank.numbers)) == (1500, 3, 1000)
    assert len(found.preview) == 20


def test_an_unknown_kind_is_a_mistake_of_the_caller(write):
    with pytest.raises(ValueError, match="kind 'images' is none of prompts, demonstrations, preferences"):
        check(write("a.txt", "a\n"), "images")
