"""What a user has chosen on the Start tab so far: one small JSON file each, so that any reload shows the same."""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.errors import ConfigError
from appliance.store.files import write_json

FOLDER = "drafts"

RuleName = Literal["words", "pattern", "length"]
Weight = Annotated[float, Field(ge=0, le=2)]


class ModelScorer(BaseModel):
    """A scorer that is a model: a classifier's good label, and what it weighs beside others."""

    label: str | None = None
    weight: Weight = 1.0


class Draft(BaseModel):
    """Every choice of the four steps. `key` makes one run, however often Start is clicked; `started` is that run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str = Field(default_factory=lambda: uuid.uuid4().hex)
    step: Annotated[int, Field(ge=0, le=3)] = 0
    started: int | None = None
    example: bool = False
    name: str = ""
    dataset: str | None = None
    column: str | None = None
    template: str = ""
    policy: str | None = None
    models: dict[str, ModelScorer] = {}
    rules: tuple[RuleName, ...] = ()
    rule_weights: dict[RuleName, Weight] = {}
    good_words: str = ""
    bad_words: str = ""
    pattern: str = ""
    pattern_wanted: bool = True
    length_words: Annotated[int, Field(ge=1, le=2000)] = 20
    size: Literal["quick", "normal", "thorough"] = "normal"
    train: Literal["full", "lora"] | None = None
    settings: dict[str, float] = {}

    @property
    def scorers(self) -> int:
        """How many scorers are chosen."""
        return len(self.models) + len(self.rules)


_lock = threading.Lock()


def folder_of(data: Path, user_id: int) -> Path:
    """The user's own folder for drafts, checks and try-outs; nobody else's config may name a file in it."""
    folder = data / FOLDER / str(int(user_id))
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    return folder


def read(data: Path, user_id: int) -> Draft:
    """The user's draft; a new one where there is none, or where an older version wrote it otherwise."""
    with _lock:
        return _read(data, user_id)


def change(data: Path, user_id: int, **values: Any) -> Draft:
    """The draft with these values, written. Raises ApplianceError for a value out of its range, or when the disk is full."""
    with _lock:
        try:
            draft = Draft.model_validate(_read(data, user_id).model_dump() | values)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(
                f"{'.'.join(map(str, first['loc']))} is {first['input']!r}: {first['msg']}", "give another value"
            ) from None
        _write(data, user_id, draft)
        return draft


def go_to(data: Path, user_id: int, step: int, **values: Any) -> Draft:
    """The draft at another step, by Next or with new prompts: a draft that was started is one for another run then."""
    fresh = Draft()
    renewed = {"key": fresh.key, "started": None, "name": ""} if read(data, user_id).started is not None else {}
    return change(data, user_id, step=step, **values, **renewed)


def again(data: Path, user_id: int) -> Draft:
    """A new draft with the choices of the last one, for another run."""
    return change(data, user_id, key=uuid.uuid4().hex, started=None, step=0, name="")


def like(draft: Draft, size_and_train: str) -> Draft:
    """The draft as it was with another size and training, from their names ("quick lora"); as it is for any other words."""
    try:
        return Draft.model_validate(
            draft.model_dump() | dict(zip(("size", "train"), size_and_train.split(), strict=True))
        )
    except (ValueError, ValidationError):
        return draft


def _read(data: Path, user_id: int) -> Draft:
    file = folder_of(data, user_id) / "draft.json"
    try:
        return Draft.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        draft = Draft()
        _write(data, user_id, draft)  # its key must be the same at the next look
        return draft
    except (ValueError, ValidationError):
        return Draft()


def _write(data: Path, user_id: int, draft: Draft) -> None:
    write_json(folder_of(data, user_id) / "draft.json", draft.model_dump(mode="json"))
