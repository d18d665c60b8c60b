import xml.etree.ElementTree as ElementTree

import pytest

from appliance.evaluate.charts import CHARTS, MAX_POINTS, charts, draw, part_charts, points, tick_texts, ticks
from appliance.ppo.metrics import EVAL_METRICS, METRICS

REWARD = CHARTS[0]


def lines(svg, name):
    """The places of a line's path: one list of (x, y) per unbroken piece."""
    path = next(e for e in ElementTree.fromstring(svg).iter("path") if e.get("class") == name)
    pieces = [piece.split("L") for piece in path.get("d").split("M")[1:]]
    return [[tuple(map(float, place.split())) for place in piece] for piece in pieces]


def test_every_line_is_a_metric_with_its_unit():
    known = METRICS | EVAL_METRICS
    for chart in CHARTS:
        assert {known[line.metric].unit for line in chart.lines} == {chart.unit}


def test_a_rising_metric_rises_on_the_page_with_even_steps():
    (piece,) = lines(draw(REWARD, [{"step": s, "score_mean": float(s)} for s in (0, 1, 2)]), "train")
    (x0, y0), (x1, y1), (x2, y2) = piece
    assert y0 > y1 > y2  # SVG counts downward
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)


@pytest.mark.parametrize("broken", [None, float("nan"), float("inf")])
def test_null_is_a_gap_and_a_missing_key_is_not(broken):
    rows = [{"step": s, "score_mean": 1.0 + s} for s in range(6)]
    rows[2]["score_mean"] = broken
    for row in rows[::5]:
        row["eval_score_mean"] = 2.0
    svg = draw(REWARD, rows)
    assert [len(piece) for piece in lines(svg, "train")] == [2, 3]
    assert [len(piece) for piece in lines(svg, "held")] == [2]
    assert "nan" not in svg
    assert "inf" not in svg


def test_one_point_is_a_dot_that_is_told():
    svg = draw(REWARD, [{"step": 3, "score_mean": 0.25}])
    root = ElementTree.fromstring(svg)
    assert len(list(root.iter("circle"))) == 1
    assert root.get("aria-label") == "Reward in score: training 0.25 at step 3" == root.find("title").text


def test_no_points_give_a_sentence():
    for rows in ([], [{"step": 1}], [{"step": 1, "score_mean": None}]):
        assert draw(REWARD, rows) == '<p class="nothing">Reward: the run wrote no numbers for this chart.</p>'


@pytest.mark.parametrize("values", [(0.0, 0.0), (5.0, 5.0), (-1e-12, 1e-12), (1e12, 3e12), (-3.0, 7.9)])
def test_any_range_stays_inside_the_picture(values):
    rows = [{"step": s, "kl": value} for s, value in enumerate(values)]
    for x, y in lines(draw(CHARTS[1], rows), "train")[0]:
        assert 52 <= x <= 344
        assert 40 <= y <= 176


def test_a_long_run_is_drawn_by_means_of_groups():
    # 1000 rows, groups of 3: the first is the mean of steps 1, 2, 3 and of values 1, none, 3
    rows = [{"step": s, "kl": None if s == 2 else float(s)} for s in range(1, 1001)]
    found = points(rows, "kl")
    assert len(found) <= MAX_POINTS
    assert found[0] == (2.0, 2.0)
    assert found[1] == (5.0, 5.0)


@pytest.mark.parametrize(
    ("low", "high", "whole", "texts"),
    [
        (0, 60, True, ["0", "20", "40", "60"]),
        (1, 2, True, ["1", "2"]),
        (7, 7, True, ["6", "7", "8"]),
        (0.13, 0.94, False, ["0.0", "0.5", "1.0"]),
        (-3.2, 7.9, False, ["-5", "0", "5", "10"]),
        (0.001, 0.0013, False, ["0.0010", "0.0011", "0.0012", "0.0013"]),
        (0, 123456, False, ["0", "50k", "100k", "150k"]),
        (0, 2.4e6, False, ["0", "1M", "2M", "3M"]),
    ],
)
def test_ticks_are_round_numbers_around_the_data(low, high, whole, texts):
    assert tick_texts(ticks(low, high, whole=whole)) == texts


def test_charts_need_nothing_from_elsewhere():
    drawn = charts([{"step": s, "score_mean": 1.0, "kl": 2.0, "length_mean": 3.0, "entropy": 4.0} for s in (1, 2)])
    assert len(drawn) == 4
    for svg in drawn:
        names = {element.tag for element in ElementTree.fromstring(svg).iter()}
        assert names <= {"svg", "title", "text", "tspan", "path", "circle"}
        assert "http" not in svg


def test_each_source_of_a_blend_has_a_chart_and_one_more_where_gates_kept_some_back():
    shares = ({"kind": 1.0, "words": 1.0}, {"kind": 1.0, "words": 0.5}, {"kind": 1.0, "words": 0.0})
    rows = []
    for step, of in enumerate(shares):
        row = {"step": step}
        for name, share in of.items():
            row |= {f"asked_share/{name}": share, f"eval_asked_share/{name}": share}
            if share:  # a source that nothing was sent to has no score
                row |= {f"score/{name}": 2.0 + step, f"eval_score/{name}": 1.0}
        rows.append(row)
    found = part_charts(rows)
    titles = ["Part of the reward: kind", "Part of the reward: words", "Let through to words"]
    assert [chart.title for chart in found] == titles
    assert len(charts(rows)) == len(CHARTS) + 3
    assert [len(piece) for piece in lines(draw(found[1], rows), "train")] == [2]
    assert not part_charts([{"step": 1, "score_mean": 1.0}])


def test_a_parts_name_cannot_break_the_page():
    rows = [{"step": step, "asked_share/<b>": 1.0, "score/<b>": float(step)} for step in (0, 1)]
    ElementTree.fromstring(draw(part_charts(rows)[0], rows))
