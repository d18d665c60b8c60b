"""What may be staged: repositories by name and revision, and the files of one that are taken."""

import re
from dataclasses import dataclass
from typing import Literal

from appliance.errors import ModelError

Kind = Literal["model", "dataset"]

REPOSITORY = re.compile(
    r"(?!.*(\.\.|--))[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95})?", re.ASCII
)
REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./+-]{0,199}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")

DATASETS = "datasets"
"""Folder of data sets inside the models folder; no owner on the hub has this name."""

MODEL_ENDINGS = (".safetensors", ".json", ".txt", ".model", ".jinja")
DATA_ENDINGS = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".jsonl.gz", ".json.gz", ".csv.gz")
PAPERS = re.compile(r"(README|(LICEN[SC]E|NOTICE|USE_POLICY|COPYING)([._-][\w.-]*)?)(\.md|\.txt)?", re.IGNORECASE)
PICKLE_ENDINGS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")

LONGEST_PATH = 240


@dataclass(frozen=True)
class Asked:
    """A repository of the hub and the revision that was asked for (None: its main branch)."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


def parse(text: str) -> Asked:
    """`owner/name` or `owner/name@revision` in its parts. Raises ModelError."""
    repo, at, revision = text.partition("@")
    if not is_repository(repo) or (at and not REVISION.fullmatch(revision)):
        raise ModelError(f"{text!r} is no name of a repository", "write owner/name or owner/name@revision")
    return Asked(repo, revision if at else None)


def is_repository(name: str) -> bool:
    """Whether a name can be one of the hub: `owner/name`, or `name` alone."""
    return REPOSITORY.fullmatch(name) is not None and name.split("/")[0].lower() != DATASETS


def unsafe(path: str) -> str | None:
    """Why a file's path must not be written below a folder, or None where it may be."""
    if not path or len(path.encode("utf-8", "surrogatepass")) > LONGEST_PATH:
        return "its name is empty or too long"
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "it is an absolute path"
    if "\\" in path or not path.isprintable():
        return "its name has characters that no file here has"
    parts = path.split("/")
    if ".." in parts:
        return "it leads out of its folder"
    if any(not part or part.startswith(".") for part in parts):
        return "a part of its name is empty or hidden"
    return None


def allowed(kind: Kind, path: str) -> bool:
    """Whether a file is one of those that are staged: weights as safetensors, configuration, tokenizer; or rows; or papers.

    A model's files lie at its top; a data set's may lie in folders. Everything else, code and pickles above all, is not.
    """
    if unsafe(path) is not None:
        return False
    name = path.rsplit("/", 1)[-1]
    if "/" in path and kind == "model":
        return False
    endings = MODEL_ENDINGS if kind == "model" else DATA_ENDINGS
    return name.lower().endswith(endings) or PAPERS.fullmatch(name) is not None
