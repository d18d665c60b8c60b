"""Blind votes: what is shown, one vote per assignment, undo, repeats, and what a reward model is given."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from appliance.errors import ApplianceError
from appliance.store.db import Store
from appliance.store.schema import Assignment, Base, User, Vote
from appliance.store.vote_batches import batches, close_batch, create_batch
from appliance.store.vote_records import exclude, rankings, records
from appliance.store.votes import VoteConflict, cast, next_item, standing, undo


class Clock:
    """Seconds that pass when asked for."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path / 'votes.db'}", tmp_path, clock=Clock())
    Base.metadata.create_all(made.engine)
    with made.session() as session:
        session.add_all(
            User(id=number, name=f"rater{number}", password_hash="-", role="rater", created=0.0) for number in (1, 2, 3)
        )
    yield made
    made.close()


def batch_of(store: Store, items: int, **more: object) -> int:
    rows = [(f"prompt {i}", (f"old {i}", f"new {i}"), ("before", "after")) for i in range(items)]
    return create_batch(store, name="first", mode="pair", items=rows, **more)  # type: ignore[arg-type]


def vote_all(store: Store, batch: int, user: int, choice: str = "a") -> list[str]:
    prompts = []
    while (shown := next_item(store, batch, user)) is not None:
        prompts.append(shown.prompt)
        cast(store, shown.assignment_id, user, key=f"{user}-{shown.assignment_id}", choice=choice, seconds=2.0)
    return prompts


def test_the_same_pair_is_shown_until_a_vote_is_cast(store):
    batch = batch_of(store, 5)
    first = next_item(store, batch, 1)
    assert first == next_item(store, batch, 1)
    assert first is not None
    cast(store, first.assignment_id, 1, key="k", choice="same", seconds=1.0)
    second = next_item(store, batch, 1)
    assert second is not None
    assert second.assignment_id != first.assignment_id


def test_every_item_is_judged_once_and_a_tenth_again_with_the_sides_turned(store):
    batch = batch_of(store, 30)
    prompts = vote_all(store, batch, 1)
    assert len(set(prompts)) == 30
    # of n places a share .1 / 1.1 are repeats: 30 items and 3 repeats
    assert len(prompts) == 33 == standing(store, batch, 1).total
    with store.reading() as session:
        orders = {
            (one.item_id, one.is_repeat): (one.place, one.order)
            for one in session.scalars(select(Assignment).where(Assignment.user_id == 1))
        }
    repeats = [item for item, is_repeat in orders if is_repeat]
    assert len(repeats) == 3
    for item in repeats:
        (place, order), (later, turned) = orders[item, False], orders[item, True]
        assert later - place >= 5
        assert turned == order[::-1]


def test_the_sides_are_drawn_and_not_always_the_same(store):
    batch = batch_of(store, 60, repeat_share=0.0)
    vote_all(store, batch, 1)
    first = sum(record.order == [0, 1] for record in records(store, batch))
    assert 15 <= first <= 45  # 60 fair draws leave this range once in 10,000 times; the draw is seeded


def test_the_same_click_twice_is_one_vote(store):
    batch = batch_of(store, 3)
    shown = next_item(store, batch, 1)
    assert shown is not None
    saved = cast(store, shown.assignment_id, 1, key="click", choice="a", seconds=1.0)
    assert cast(store, shown.assignment_id, 1, key="click", choice="b", seconds=9.0) == saved
    assert [record.choice for record in records(store)] == ["a"]


def test_a_second_tab_cannot_vote_again_on_the_same_pair(store):
    batch = batch_of(store, 3)
    shown = next_item(store, batch, 1)
    assert shown is not None
    cast(store, shown.assignment_id, 1, key="one tab", choice="a", seconds=1.0)
    with pytest.raises(VoteConflict, match="in another tab"):
        cast(store, shown.assignment_id, 1, key="other tab", choice="b", seconds=1.0)
    assert [record.choice for record in records(store)] == ["a"]


def test_ten_clicks_at_once_are_one_vote(store):
    batch = batch_of(store, 3)
    shown = next_item(store, batch, 1)
    assert shown is not None

    def click(number: int) -> str:
        try:
            cast(store, shown.assignment_id, 1, key=f"tab {number}", choice="a", seconds=1.0)
        except VoteConflict:
            return "conflict"
        return "saved"

    with ThreadPoolExecutor(10) as pool:
        outcomes = list(pool.map(click, range(10)))
    assert sorted(outcomes) == ["conflict"] * 9 + ["saved"]
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Vote)) == 1


def test_two_tabs_that_draw_at_once_get_the_same_pair(store):
    batch = batch_of(store, 5)
    with ThreadPoolExecutor(8) as pool:
        shown = list(pool.map(lambda _: next_item(store, batch, 1), range(8)))
    assert len({one.assignment_id for one in shown if one is not None}) == 1


def test_undo_brings_the_pair_back_and_keeps_a_trace(store):
    batch = batch_of(store, 4)
    first = next_item(store, batch, 1)
    assert first is not None
    cast(store, first.assignment_id, 1, key="wrong", choice="a", seconds=1.0)
    assert undo(store, batch, 1)
    assert next_item(store, batch, 1) == first
    cast(store, first.assignment_id, 1, key="right", choice="b", seconds=1.0)
    assert [record.choice for record in records(store)] == ["b"]
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Vote)) == 2
    assert undo(store, batch, 1)
    assert not undo(store, batch, 1)


def test_a_rater_cannot_vote_for_another_nor_say_what_the_mode_does_not_have(store):
    batch = batch_of(store, 3)
    shown = next_item(store, batch, 1)
    assert shown is not None
    with pytest.raises(ApplianceError, match="not given to you"):
        cast(store, shown.assignment_id, 2, key="k", choice="a", seconds=1.0)
    with pytest.raises(ApplianceError, match="is no answer here"):
        cast(store, shown.assignment_id, 1, key="k", choice="ranked", ranking=[0, 1], seconds=1.0)
    close_batch(store, batch)
    with pytest.raises(ApplianceError, match="is closed"):
        cast(store, shown.assignment_id, 1, key="k", choice="a", seconds=1.0)
    with pytest.raises(ApplianceError, match="is closed"):
        next_item(store, batch, 1)


def test_best_of_4_takes_a_whole_order_of_the_answers_as_shown(store):
    item = ("prompt", ("w", "x", "y", "z"), ("before", "before", "after", "after"))
    batch = create_batch(store, name="four", mode="best_of_4", items=[item])
    shown = next_item(store, batch, 1)
    assert shown is not None
    with pytest.raises(ApplianceError, match="order is not complete"):
        cast(store, shown.assignment_id, 1, key="k", choice="ranked", ranking=[0, 1, 2], seconds=1.0)
    best_first = [shown.texts.index(text) for text in "yzxw"]
    cast(store, shown.assignment_id, 1, key="k", choice="ranked", ranking=best_first, seconds=1.0)
    (ranking,) = rankings(records(store, batch))
    assert dict(zip(ranking.responses, ranking.ranks, strict=True)) == {"y": 1, "z": 2, "x": 3, "w": 4}


def test_a_vote_for_the_answer_shown_second_goes_to_that_answer(store):
    batch = batch_of(store, 10, repeat_share=0.0)
    chosen = {}
    while (shown := next_item(store, batch, 1)) is not None:
        chosen[shown.prompt] = shown.texts[1]
        cast(store, shown.assignment_id, 1, key=f"{shown.place}", choice="b", seconds=1.0)
    found = rankings(records(store, batch))
    assert len(found) == 10
    assert all(r.responses[r.ranks.index(1)] == chosen[r.prompt] for r in found)


def test_answers_that_do_not_differ_are_not_compared(store):
    with pytest.raises(ApplianceError, match="none of the 1 prompts has 2 different answers"):
        create_batch(store, name="n", mode="pair", items=[("p", ("same", "same"), ("before", "after"))])
    assert batches(store) == []


def test_raters_overlap_so_that_agreement_can_be_measured(store):
    batch = batch_of(store, 40, repeat_share=0.0)
    for user in (1, 2):
        for _ in range(15):
            shown = next_item(store, batch, user)
            assert shown is not None
            cast(store, shown.assignment_id, user, key=f"{user} {shown.place}", choice="a", seconds=1.0)
    items = [record.item_id for record in records(store, batch)]
    both = len(items) - len(set(items))
    assert 3 <= both <= 12  # half of the second rater's draws, of which the seed decides


def test_an_excluded_rater_teaches_nothing_until_taken_in_again(store):
    batch = batch_of(store, 4, repeat_share=0.0)
    vote_all(store, batch, 1)
    exclude(store, batch, 1)
    exclude(store, batch, 1)
    assert rankings(records(store, batch)) == []
    exclude(store, batch, 1, excluded=False)
    assert len(rankings(records(store, batch))) == 4
