"""`appliance score`: the number that training sees for a text."""

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--reward", "config", type=click.Path(path_type=Path), help="PPO config, or YAML with only `reward:`.")
@click.option("--run", "run_dir", type=click.Path(path_type=Path), help="PPO run: its reward, and its blend's scales.")
@click.option("--text", "texts", multiple=True, help="A response to score; repeatable.")
@click.option("--prompt", default="", help="The prompt that every --text answers.")
@click.option("--file", "source", help="Responses from a file: columns response and prompt, or a text per line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per text.")
def score(
    config: Path | None, run_dir: Path | None, texts: tuple[str, ...], prompt: str, source: str | None, as_json: bool
) -> None:
    """Score texts with the reward of a config or a run, as PPO would: a run's samples.jsonl gives its own numbers again.

    A response continues its prompt without anything between: give it the space that it begins with.
    """
    if config is None and run_dir is None:
        raise click.UsageError("Give --reward or --run: what is to score?")
    if not texts and source is None:
        raise click.UsageError("Give --text or --file: what is to be scored?")
    prompts, responses = [prompt] * len(texts), list(texts)
    if source is not None:
        for asked, answered in rows(source, prompt):
            prompts.append(asked)
            responses.append(answered)
    from appliance.stages.judging import judge, judged

    by = judge(config, run_dir)
    for found in judged(by, prompts, responses):
        for line in [json.dumps(found, ensure_ascii=False)] if as_json else lines(found):
            click.echo(line)
    if not as_json and by.scores is not None and by.scores.scale == "running":
        click.echo("PPO divides these scores by their running deviation (scores.scale: running)", err=True)


def rows(source: str, prompt: str) -> list[tuple[str, str]]:
    """(prompt, response) of each row of a file; a file without prompts answers `prompt`. Raises DataError."""
    from appliance.config.base import TextSource
    from appliance.data.sources import read_table
    from appliance.data.tables import MISSING
    from appliance.errors import DataError

    table = read_table(TextSource(source=source))
    key = next((name for name in ("response", "text") if name in table.columns), None)
    if key is None:
        raise DataError(
            f"{source}: no column holds responses; the columns are: {', '.join(table.columns)}",
            'name one "response" (or "text"), and the prompts\' "prompt"',
        )
    asked = list(table.column("prompt")) if "prompt" in table.columns else [prompt] * len(table)
    found = []
    for row, pair in enumerate(zip(asked, table.column(key), strict=True)):
        if not all(isinstance(text, str) for text in pair):
            raise DataError(
                f"{table.place(row)}: {'prompt' if not isinstance(pair[0], str) else key} is "
                f"{'missing' if MISSING in pair else 'not a text'}",
                "correct the row",
            )
        found.append((str(pair[0]), str(pair[1])))
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """A text's score for people."""
    shown = found["response"] if len(found["response"]) <= 60 else found["response"][:57] + "..."
    made = [f"{found['score'] + 0.0:.7g}  {shown!r}"]
    if found["shaped"] is not None and found["shaped"] != found["score"]:
        made.append(f"  {found['shaped']:.7g} after scores.clip")
    for name, part in found.get("parts", {}).items():
        if part is None:
            made.append(f"  {name}: not asked, an earlier gate kept the text back")
        else:
            made.append(
                f"  {name}: {part['score'] + 0.0:.7g}, normalized {part['normalized'] + 0.0:.7g}, adds {part['added'] + 0.0:.7g}"
            )
    return made
