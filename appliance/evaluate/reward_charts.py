"""The pictures of a reward model's report as SVG text: calibration, the scores of both sides, and the training."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from appliance.evaluate.charts import (
    COLORS,
    HEIGHT,
    LEFT,
    WIDTH,
    Chart,
    Line,
    axes,
    draw,
    ticks,
    x_place,
    y_place,
)

TRAINING = (
    Chart("Loss", "nats", (Line("loss", "training", "train"),)),
    Chart("Accuracy", "share of the batch's pairs", (Line("accuracy", "training", "train"),)),
    Chart("Margin", "score, better less worse", (Line("margin", "training", "train"),)),
)
BARS = 24
"""Steps of the histogram, about."""


def training_charts(metrics: Sequence[dict[str, Any]]) -> list[str]:
    """One picture per chart of TRAINING, from the rows of metrics.jsonl."""
    return [draw(chart, metrics) for chart in TRAINING]


def calibration_chart(bins: Sequence[dict[str, Any]]) -> str:
    """Observed over predicted share, a dot with its 95% interval per bin, beside the line on which both are equal."""
    xs, ys = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    told = "; ".join(f"{b['predicted']:.0%} predicted, {b['observed']:.0%} of {b['pairs']} observed" for b in bins)
    largest = max(b["pairs"] for b in bins)
    return "".join(
        (
            *_frame("Calibration", "share of pairs", f"Calibration: {told}"),
            *_key((("model", "train", ""), ("perfect", "held", ' stroke-dasharray="5 3"'))),
            *axes(xs, ys, under="predicted: sigmoid of the difference"),
            f'<path d="M{x_place(0.5, xs):.1f} {y_place(0.5, ys):.1f}L{x_place(1, xs):.1f} {y_place(1, ys):.1f}" '
            f'style="stroke:{COLORS["held"]}" stroke-width="1.5" stroke-dasharray="5 3" fill="none"/>',
            *(_bin(b, xs, ys, 2 + 4 * (b["pairs"] / largest) ** 0.5) for b in bins),
            "</svg>",
        )
    )


def _bin(b: dict[str, Any], xs: list[float], ys: list[float], radius: float) -> str:
    x, y = x_place(b["predicted"], xs), y_place(b["observed"], ys)
    low, high = (y_place(end, ys) for end in b["observed_ci95"])
    color = COLORS["train"]
    return (
        f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" style="stroke:{color}" stroke-width="1.5"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" style="fill:{color}"/>'
    )


def score_chart(chosen: Sequence[float], rejected: Sequence[float]) -> str:
    """Two histograms over one another: the scores of the better and of the worse sides of all held-out pairs."""
    wide = ticks(min(*chosen, *rejected), max(*chosen, *rejected))
    step = (wide[-1] - wide[0]) / BARS
    counts = {name: _counts(found, wide[0], step) for name, found in (("train", chosen), ("held", rejected))}
    ys = ticks(0, max(max(found) for found in counts.values()), whole=True)
    said = f"chosen {sum(chosen) / len(chosen):.3g} on average, rejected {sum(rejected) / len(rejected):.3g}"
    return "".join(
        (
            *_frame("Scores", "held-out pairs", f"Scores of {len(chosen)} held-out pairs: {said}"),
            *_key((("chosen", "train", ""), ("rejected", "held", ' stroke-dasharray="5 3"'))),
            *axes(wide, ys, under="score"),
            *(_steps(found, wide, step, ys, name) for name, found in counts.items()),
            "</svg>",
        )
    )


def _counts(values: Sequence[float], low: float, step: float) -> list[int]:
    counts = [0] * BARS
    for value in values:
        counts[min(int((value - low) / step), BARS - 1)] += 1
    return counts


def _steps(counts: list[int], xs: list[float], step: float, ys: list[float], name: str) -> str:
    """The outline of a histogram, filled lightly."""
    path = f"M{x_place(xs[0], xs):.1f} {y_place(0, ys):.1f}"
    for place, count in enumerate(counts):
        path += f"V{y_place(count, ys):.1f}H{x_place(xs[0] + (place + 1) * step, xs):.1f}"
    dash = ' stroke-dasharray="5 3"' if name == "held" else ""
    return (
        f'<path class="{name}" d="{path}V{y_place(0, ys):.1f}Z" stroke-width="1.5"{dash} '
        f'style="stroke:{COLORS[name]};fill:{COLORS[name]}" fill-opacity="0.15"/>'
    )


def _frame(title: str, unit: str, label: str) -> Iterator[str]:
    said = escape(label, quote=True)
    yield (
        f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="{said}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
    )
    yield f"<title>{said}</title>"
    yield (
        f'<text x="4" y="14" font-weight="600">{escape(title)}'
        f'<tspan font-weight="400" opacity="0.75"> [{escape(unit)}]</tspan></text>'
    )


def _key(lines: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    for number, (label, css, dash) in enumerate(lines):
        x = LEFT + 96 * number
        yield (
            f'<path d="M{x} 27h18" style="stroke:{COLORS[css]}" stroke-width="2" fill="none"{dash}/>'
            f'<text x="{x + 24}" y="31">{escape(label)}</text>'
        )
