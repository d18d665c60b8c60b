"""The example that needs no choice: prompts, models and scorer that the appliance makes itself."""

from __future__ import annotations

from appliance.data import films
from appliance.store import datasets
from appliance.store.db import Store
from appliance.store.users import Member
from appliance.ui import starting_draft, starting_prompts
from appliance.ui.starting_draft import Draft
from appliance.ui.starting_goal import example_cards, example_folder

EXAMPLE_PROMPTS, EXAMPLE_SEED, EXAMPLE_FILE = 1000, 1, "film-review-openings.txt"


def fill_example(store: Store, member: Member) -> Draft:
    """All four steps filled with the example; its prompts are kept in the store once for each user."""
    mine_already = [
        one
        for one in datasets.list_datasets(store, kind="prompts", owner_id=member.id)
        if one.name == EXAMPLE_FILE and one.owner_id == member.id and one.rows == EXAMPLE_PROMPTS
    ]
    if mine_already:
        dataset = mine_already[0]
    else:
        text = "".join(line + "\n" for line in films.openings(EXAMPLE_PROMPTS, EXAMPLE_SEED))
        dataset = starting_prompts.keep_text(store, text, EXAMPLE_FILE, member.id)
    policy, scorer = (card.model for card in example_cards(example_folder(store)))
    fresh = Draft(
        step=3,
        example=True,
        dataset=dataset.id,
        policy=policy,
        models={scorer: {}},
        size="normal",  # type: ignore[dict-item]
    )
    return starting_draft.change(store.data, member.id, **fresh.model_dump())
