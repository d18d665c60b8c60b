"""Line charts of a run's metrics as SVG text: no script, no outside file, readable on light and dark."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Point = tuple[float, float | None]  # step, value; None: a gap

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 40, 34
MAX_POINTS = 400
"""More than this are averaged in groups: a screen has no room for them."""


@dataclass(frozen=True)
class Line:
    """One metric's line: its name in metrics.jsonl, what the legend calls it, and the CSS class that colours it."""

    metric: str
    label: str
    css: str


@dataclass(frozen=True)
class Chart:
    """A title, the unit of its values, and its lines."""

    title: str
    unit: str
    lines: tuple[Line, ...]


CHARTS = (
    Chart("Reward", "score", (Line("score_mean", "training", "train"), Line("eval_score_mean", "held out", "held"))),
    Chart(
        "Drift from the starting policy (KL)",
        "nats/response",
        (Line("kl", "training", "train"), Line("eval_kl", "held out", "held")),
    ),
    Chart(
        "Response length",
        "tokens",
        (Line("length_mean", "training", "train"), Line("eval_length_mean", "held out", "held")),
    ),
    Chart("Entropy", "nats/token", (Line("entropy", "training", "train"),)),
)
COLORS = {"train": "var(--train, #2f7fd0)", "held": "var(--held, #c8641c)"}


def charts(metrics: Sequence[dict[str, Any]]) -> list[str]:
    """One piece of HTML per chart of CHARTS and per source of a blend, from the rows of metrics.jsonl.

    Each is an SVG, or a sentence without points.
    """
    return [draw(chart, metrics) for chart in (*CHARTS, *part_charts(metrics))]


def part_charts(metrics: Sequence[dict[str, Any]]) -> list[Chart]:
    """For each source of a blend, in its order: its own score, and which share reached it where gates kept some back."""
    keys = dict.fromkeys(key for row in metrics for key in row)
    found = []
    for name in [key.removeprefix("asked_share/") for key in keys if key.startswith("asked_share/")]:
        found.append(Chart(f"Part of the reward: {name}", "its own score", _both(f"score/{name}")))
        shares = [
            row[key] for row in metrics for key in (f"asked_share/{name}", f"eval_asked_share/{name}") if key in row
        ]
        if any(share is not None and share < 1 for share in shares):
            found.append(Chart(f"Let through to {name}", "share", _both(f"asked_share/{name}")))
    return found


def _both(metric: str) -> tuple[Line, Line]:
    """Its line in training and on the held-out prompts."""
    return Line(metric, "training", "train"), Line(f"eval_{metric}", "held out", "held")


def draw(chart: Chart, metrics: Sequence[dict[str, Any]]) -> str:
    """The chart as an <svg>; a <p> that says so when no row has a number for it."""
    drawn = [(line, points(metrics, line.metric)) for line in chart.lines]
    drawn = [(line, found) for line, found in drawn if any(value is not None for _, value in found)]
    if not drawn:
        return f'<p class="nothing">{escape(chart.title)}: the run wrote no numbers for this chart.</p>'
    known = [(step, value) for _, found in drawn for step, value in found if value is not None]
    xs = ticks(min(x for x, _ in known), max(x for x, _ in known), whole=True)
    ys = ticks(min(y for _, y in known), max(y for _, y in known))
    label = escape(
        f"{chart.title} in {chart.unit}: " + "; ".join(_told(line, found) for line, found in drawn), quote=True
    )
    return "".join(
        (
            f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="{label}" '
            'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">',
            f"<title>{label}</title>",
            f'<text x="4" y="14" font-weight="600">{escape(chart.title)}'
            f'<tspan font-weight="400" opacity="0.75"> [{escape(chart.unit)}]</tspan></text>',
            *_legend(drawn),
            *axes(xs, ys),
            *(_drawn(line, found, xs, ys) for line, found in drawn),
            "</svg>",
        )
    )


def points(metrics: Sequence[dict[str, Any]], name: str) -> list[Point]:
    """(step, value) of the rows that have the metric; null or not finite: None. At most MAX_POINTS, means of groups."""
    found = [(float(row["step"]), _finite(row[name])) for row in metrics if name in row]
    size = math.ceil(len(found) / MAX_POINTS) or 1
    return [_mean(found[i : i + size]) for i in range(0, len(found), size)]


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _mean(group: list[Point]) -> Point:
    values = [value for _, value in group if value is not None]
    step = sum(step for step, _ in group) / len(group)
    return step, sum(values) / len(values) if values else None


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """2 to 7 round numbers evenly apart (1, 2 or 5 times a power of ten) that enclose low..high; `whole`: integers."""
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):
        room = 0.5 if whole or low == 0 else abs(low) / 10
        low, high = low - room, high + room
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    spacing = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    if whole:
        spacing = max(1.0, spacing)
    first, last = math.floor(low / spacing + 1e-9), math.ceil(high / spacing - 1e-9)
    return [float(f"{i * spacing:.12g}") for i in range(first, last + 1)]


def tick_texts(values: list[float]) -> list[str]:
    """The ticks with the decimals that their spacing needs; large ones in k or M, extreme ones in powers of ten."""
    spacing, largest = values[1] - values[0], max(map(abs, values))
    if spacing < 1e-4 or largest >= 1e9:
        return [f"{value:.1e}" if value else "0" for value in values]
    for size, sign in ((1e6, "M"), (1e4, "k")):
        if largest >= size:
            return [f"{value / (1e3 if sign == 'k' else size):g}{sign}" if value else "0" for value in values]
    return [f"{value:.{max(0, -math.floor(math.log10(spacing) + 1e-9))}f}" for value in values]


def _told(line: Line, found: list[Point]) -> str:
    known = [(step, value) for step, value in found if value is not None]
    (first, start), (last, end) = known[0], known[-1]
    if len(known) == 1:
        return f"{line.label} {start:.3g} at step {first:.0f}"
    return f"{line.label} from {start:.3g} at step {first:.0f} to {end:.3g} at step {last:.0f}"


def _legend(drawn: list[tuple[Line, list[Point]]]) -> Iterator[str]:
    for number, (line, _) in enumerate(drawn):
        x = LEFT + 96 * number
        yield (
            f'<path d="M{x} 27h18" style="stroke:{COLORS[line.css]}" stroke-width="2" fill="none"{_dash(line)}/>'
            f'<text x="{x + 24}" y="31">{escape(line.label)}</text>'
        )


def _dash(line: Line) -> str:
    return ' stroke-dasharray="5 3"' if line.css == "held" else ""


def x_place(step: float, xs: list[float]) -> float:
    """Where a number stands between the ticks `xs`, in the picture's units."""
    return LEFT + (WIDTH - LEFT - RIGHT) * (step - xs[0]) / (xs[-1] - xs[0])


def y_place(value: float, ys: list[float]) -> float:
    """Where a number stands between the ticks `ys`; SVG counts downward."""
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - ys[0]) / (ys[-1] - ys[0])


def axes(xs: list[float], ys: list[float], *, under: str = "step") -> Iterator[str]:
    """Lines and numbers at the ticks; `under` names the horizontal axis."""
    bottom = HEIGHT - BOTTOM
    for value, text in zip(ys, tick_texts(ys), strict=True):
        y = y_place(value, ys)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity="0.18"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    for value, text in zip(xs, tick_texts(xs), strict=True):
        x = x_place(value, xs)
        yield f'<path d="M{x:.1f} {bottom}v4" stroke="currentColor" stroke-opacity="0.6"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>'
    yield f'<path d="M{LEFT} {bottom}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity="0.6"/>'
    yield f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end" opacity="0.75">{escape(under)}</text>'


def _drawn(line: Line, found: list[Point], xs: list[float], ys: list[float]) -> str:
    places = [None if value is None else (x_place(step, xs), y_place(value, ys)) for step, value in found]
    path, dots, pen_down = [], [], False
    for i, place in enumerate(places):
        if place is not None:
            path.append(f"{'L' if pen_down else 'M'}{place[0]:.1f} {place[1]:.1f}")
            alone = not pen_down and (i + 1 == len(places) or places[i + 1] is None)
            if alone or (line.css == "held" and len(places) <= 40):
                dots.append(
                    f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="2.5" style="fill:{COLORS[line.css]}"/>'
                )
        pen_down = place is not None
    color = f'style="stroke:{COLORS[line.css]}"'
    return (
        f'<path class="{line.css}" d="{"".join(path)}" {color} stroke-width="2" fill="none"{_dash(line)}/>'
        + "".join(dots)
    )
