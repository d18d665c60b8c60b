"""report.html: the report as one page that needs nothing but itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance.evaluate.charts import charts
from appliance.evaluate.records import Answers, Comparison
from appliance.evaluate.statistics import middle
from appliance.evaluate.verdict import duration, interval, number, signed

TEMPLATE = "report.html.jinja"


def to_html(report: dict[str, Any], comparison: Comparison, metrics: Sequence[dict[str, Any]]) -> str:
    """One self-contained page: no script, nothing from elsewhere. Texts of prompts and models are escaped."""
    return render(
        TEMPLATE,
        report=report,
        rows=_rows(report),
        charts=charts(metrics),
        asked=_asked(comparison, report),
        settings=settings_lines(report["run"]),
    )


def render(template: str, *, charts: Sequence[str], **values: Any) -> str:
    """A template of this folder filled in; `charts` are SVG and stand as they are, every other text is escaped."""
    import jinja2
    from markupsafe import Markup

    def printable(value: Any) -> Any:
        return value if isinstance(value, Markup) or not isinstance(value, str) else _without_controls(value)

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"number": _shown, "duration": duration}
    return pages.get_template(template).render(charts=[Markup(chart) for chart in charts], **values)


def _without_controls(text: str) -> str:
    kept = "".join(c if c in "\n\t" or ord(c) >= 32 else "\ufffd" for c in text)
    return kept.encode("utf-8", "replace").decode("utf-8")


def _shown(value: float | None) -> str:
    return "not known" if value is None else number(value)


def _rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of the table of figures: label, before, after, change and its interval as texts."""
    opinion = report["second_opinion"]
    known = [
        ("mean reward", report["mean_reward"], report["difference_ci95"]),
        ("median reward", report["median_reward"], report["median_difference_ci95"]),
        ("reward, standard deviation", report["reward_std"], None),
        *([("second opinion, mean", opinion, opinion["difference_ci95"])] if opinion is not None else []),
        *([("second opinion, standard deviation", opinion["std"], None)] if opinion is not None else []),
        ("KL to the starting policy, nats per answer", {"before": 0.0, "after": report["kl"]}, report["kl_ci95"]),
        ("length, tokens", report["length_tokens"], None),
        ("share that ends by itself", report["ended_share"], None),
        ("distinct words, share", report["distinct_1"], None),
        ("distinct word pairs, share", report["distinct_2"], None),
        ("perplexity under the starting model", report["perplexity"], None),
    ]
    return [
        {
            "label": label,
            "before": _shown(of["before"]),
            "after": _shown(of["after"]),
            "change": "" if None in (of["before"], of["after"]) else signed(of["after"] - of["before"]),
            "interval": interval((ci[0], ci[1])) if ci is not None else "",
        }
        for label, of, ci in known
    ]


def _asked(comparison: Comparison, report: dict[str, Any]) -> list[dict[str, Any]]:
    """Each prompt with all its answers, and which of them have the middle score."""
    return [
        means
        | {
            "change": f"{signed(means['difference'])} on average: {number(means['before'])}, then {number(means['after'])}",
            "shown": [
                (name, _answer(side, p, middle(side.scores[p])))
                for name, side in (("before", comparison.before), ("after", comparison.after))
            ],
            "all": [
                (_answer(comparison.before, p, s), _answer(comparison.after, p, s)) for s in range(comparison.samples)
            ],
        }
        for p, means in enumerate(report["per_prompt"])
    ]


def _answer(side: Answers, prompt: int, sample: int) -> dict[str, Any]:
    return {
        "text": side.texts[prompt][sample],
        "score": side.scores[prompt][sample],
        "opinion": None if side.opinion is None else side.opinion[prompt][sample],
        "tokens": side.tokens[prompt][sample],
        "ended": side.ended[prompt][sample],
    }


def settings_lines(run: dict[str, Any]) -> list[tuple[str, str]]:
    """What the run says of itself as lines, all but the config."""
    lines = []
    for name, value in run.items():
        if name == "config" or value is None:
            continue
        lines.append((name.replace("_", " "), _told(value)))
    return lines


def _told(value: Any) -> str:
    """A setting in words; the sources of a blend in parentheses, without what is not set."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_told(item)}" for key, item in value.items())
    if isinstance(value, list | tuple) and value and all(isinstance(item, dict) for item in value):
        return "".join(f"({_told({k: v for k, v in item.items() if v is not None})})" for item in value)
    return str(value)
