"""Writes <schema>/ beside this file: the data folder that the present code leaves, for every later version to upgrade.

Once for each release whose schema is new, before its tag, in about three minutes:

    .venv/bin/python tests/store/released/make.py

data/ holds the files, database.sql the store, seen.json what the store's functions answered (`seen`, which the test asks
the later version, too). Weights and files above 32 KiB are left out: git keeps text. A folder that is there is not
written again: what it holds was made by the release itself.
"""

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from appliance.stages.demo_ppo import ppo_values
from appliance.store import (
    audit,
    datasets,
    logins,
    metrics,
    migration,
    questions,
    run_folders,
    runs,
    users,
    vote_batches,
    vote_records,
    votes,
    workers,
)
from appliance.store.db import Store
from appliance.store.rundir import RunDir
from appliance.store.schema import Run

HERE = Path(__file__).parent
DATA = "@DATA@"
"""Stands for the data folder's path, which the store's rows and the configs name."""

PASSWORD = "the password of a test"
BEGAN = 1_790_000_000.0
CURVES = ("score_mean", "kl")
LARGEST = 32 << 10
ENDINGS = (".yaml", ".json", ".jsonl", ".txt", ".csv", ".log", ".md")


class Clock:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def seen(store: Store, token: str, clock: float) -> dict[str, Any]:
    """What people and programs find in the store and its run folders, as plain values; `token` is an API token."""
    store.clock = lambda: clock
    holder = logins.who_has(store, token)
    found: dict[str, Any] = {
        "users": [asdict(member) for member in users.everyone(store)],
        "the token's user": None if holder is None else holder.name,
        "queue": [run.name for run in runs.queue(store)],
        "runs": {run.name: _run(store, run) for run in runs.list_runs(store)},
        "batches": [
            [batch.name, batch.mode, batch.guideline, batch.repeat_share, batch.closed]
            for batch in vote_batches.batches(store)
        ],
        "votes": [asdict(vote) for vote in vote_records.records(store)],
        "audit": [[e.at, e.user_name, e.action, e.subject, e.detail] for e in audit.entries(store)],
        "workers": [[worker.id, worker.host, worker.device] for worker in workers.heard_of(store)],
        "data sets": [
            [held.name, held.kind, held.rows, held.column, datasets.path_of(store, held).read_text()]
            for held in datasets.list_datasets(store)
        ],
    }
    return dict(json.loads(json.dumps(found).replace(str(store.data), DATA)))


def _run(store: Store, run: Run) -> dict[str, Any]:
    names = ("id", "stage", "state", "step", "steps", "folder", "message", "fix", "cause", "note", "starred")
    more = ("owner_id", "parent_id", "dataset_id", "attempts", "checkpoint", "created", "started", "ended", "result")
    folder = RunDir(Path(run.folder))
    return {name: getattr(run, name) for name in names + more} | {
        "curves": metrics.points(store, run.id, CURVES),
        "events": [[event.kind, event.step, event.what, event.fix] for event in metrics.events(store, run.id)],
        "questions": [
            [asked.prompt, asked.state, asked.answer] for asked in questions.recent(store, run.id, run.owner_id)
        ],
        "status": folder.status()["state"],
        "settings": folder.config().model_dump(mode="json") if run.name == "better" else None,
    }


def train(data: Path) -> None:
    """The demo's models, and a short PPO run from them, as the page's example makes them."""
    program = [sys.executable, "-m", "appliance"]
    subprocess.run([*program, "demo", "--models-only", "--out", data / "example"], check=True)
    values = ppo_values(data / "example") | {"stage": "ppo", "name": "better"}
    values["batch"] = {"steps": 4, "rollout": 32, "minibatch": 16}
    values["evaluation"] |= {"every_steps": 2, "prompts": 8, "report_samples": 2}
    values["checkpoint"] = {"every_steps": 2}
    config = data / "better.yaml"
    config.write_text(yaml.safe_dump(values, sort_keys=False))
    if not (data / "better" / "report").exists():
        subprocess.run([*program, "train", "ppo", "--config", config, "--run-dir", data / "better"], check=True)
    config.unlink()


def fill(store: Store) -> str:
    """A store of a site that has worked for a while; returns an API token."""
    admin = users.add(store, "anna", PASSWORD, "admin")
    trainer = users.add(store, "tom", PASSWORD, "trainer")
    raters = [users.add(store, name, PASSWORD, "rater") for name in ("rita", "ralf", "rosa")]
    gone = users.add(store, "gustav", PASSWORD, "trainer")
    users.set_disabled(store, gone.id, True)
    users.invite(store, "rater")
    logins.sign_in(store, "anna", PASSWORD)
    token = logins.make_api_token(store, trainer.id)
    audit.record(store, admin, "sign in")
    source = store.data / "prompts.csv"
    source.write_text("prompt,topic\nThe film was,drama\nÜber den Film:,de\n")
    given = {"rows": 2, "owner_id": trainer.id, "column": "prompt"}
    held = datasets.add(store, name="my prompts.csv", kind="prompts", source=source, **given)
    pairs = store.data / "pairs.jsonl"
    pairs.write_text('{"prompt": "p", "chosen": "good", "rejected": "bad"}\n')
    datasets.add(store, name="pairs.jsonl", kind="preferences", source=pairs, rows=1, owner_id=None)
    audit.record(store, trainer, "upload", "my prompts.csv", {"rows": 2})
    done = _runs(store, trainer.id, held.id)
    asked = questions.ask(store, done.id, trainer.id, "The ending was")
    questions.take(store, asked.id, "cpu")
    questions.answer(store, asked.id, {"before": {"text": " bad", "seconds": 0.1}, "after": {"text": " good"}})
    questions.ask(store, done.id, trainer.id, "And the music")
    _vote(store, done.id, [rater.id for rater in raters])
    workers.beat(store, "cpu", host="vm", pid=17, device="cpu")
    (store.data / "drafts" / str(trainer.id)).mkdir(parents=True)
    (store.data / "drafts" / str(trainer.id) / "draft.json").write_text('{"key": "k", "step": 2, "name": "next"}')
    audit.record(store, None, "backup", "backup-1.tar")
    return token


def _runs(store: Store, owner: int, dataset: str) -> Run:
    """A run in each state; returns the one that is done. Folders and rows as a worker leaves them."""
    text = (store.data / "better" / "config.yaml").read_text()
    finished = store.data / "better"
    finished.rename(store.data / ".better")  # the queue gives a run a folder that is not there yet
    (store.data / "example").rename(store.data / ".example")

    def queue(name: str, **more: Any) -> Run:
        stage, config = ("example", "stage: example\n") if name == "example" else ("ppo", text)
        return runs.enqueue(
            store, config_yaml=config, name=name, stage=stage, owner_id=owner, key=f"key-{name}", **more
        )

    example, done = queue("example"), None
    for name, run in (("example", example), ("better", queue("better", parent_id=example.id, dataset_id=dataset))):
        (store.data / f".{name}").rename(store.data / name)
        runs.claim(store, "cpu")
        metrics.ingest(store, run.id, RunDir(store.data / name))
        result = run_folders.result(RunDir(store.data / name))
        runs.beat(store, run.id, running=True, step=4, steps=4)
        runs.finish(store, run.id, "done", result=result)
        done = runs.get(store, run.id)
    assert done is not None
    runs.note(store, done.id, "Die beste bisher: größere Schritte")
    runs.star(store, done.id, True)
    ends: dict[str, dict[str, Any]] = {
        "stopped": {"message": "stopped by tom"},
        "failed": {"message": "GPU memory: 1 GiB free, 2 GiB needed", "fix": "use microbatch 4", "cause": "memory"},
        "interrupted": {"message": "its process is gone"},
    }
    for state in ("stopped", "failed", "interrupted", "starting", "running", "stopping"):
        run = queue(state)
        runs.claim(store, "cpu")
        if state != "starting":
            _half_way(store, run, state)
        runs.identify(store, run.id, pid=4_000_000, pid_started=1.0, boot_id="gone", checkpoint="step-000002")
        if state in ends:
            runs.finish(store, run.id, state, **ends[state])
        elif state == "stopping":
            runs.ask_stop(store, run.id)
    runs.continue_run(store, queue_again(store, "again", queue).id)
    queue("queued")
    run_folders.delete(store, queue("deleted").id)  # its number is not given again
    return done


def queue_again(store: Store, name: str, queue: Callable[[str], Run]) -> Run:
    """A run that was taken from the queue before it began."""
    return runs.ask_stop(store, queue(name).id)


def _half_way(store: Store, run: Run, state: str) -> None:
    """The folder of a run that came to step 2 of 4."""
    folder = RunDir(Path(run.folder))
    rest = ("report", "model", "samples.jsonl", "step-000004" if state == "interrupted" else "checkpoints")
    shutil.copytree(store.data / "better", folder.path, ignore=shutil.ignore_patterns(*rest))
    folder.truncate_logs(2)
    folder.set_status(state if state in ("stopped", "failed") else "running", step=2, steps=4)
    metrics.ingest(store, run.id, folder)
    metrics.add_event(store, run.id, "the worker was restarted", step=2)
    runs.beat(store, run.id, running=True, step=2, steps=4, phase=None)


def _vote(store: Store, run: int, raters: list[int]) -> None:
    """Pairs with repeats, an undone vote and an excluded rater; four answers to rank, still open."""
    pairs = [(f"prompt {n}", (f"before {n}", f"after {n}"), ("before", "after")) for n in range(8)]
    guideline = "Which is kinder?"
    batch = vote_batches.create_batch(
        store, name="kindness", mode="pair", items=pairs, run_id=run, guideline=guideline, repeat_share=0.3
    )
    for rater in raters[:2]:
        choices, cast = ("a", "b", "same", "both_bad", "skip"), 0
        while shown := votes.next_item(store, batch, rater):
            told = {"choice": choices[cast % 5], "seconds": 1.5 * cast, "reason": "clearer" * (cast == 1)}
            votes.cast(store, shown.assignment_id, rater, key=f"{batch}-{rater}-{cast}", **told)
            cast += 1
            if cast == 3:
                votes.undo(store, batch, rater)
    vote_records.exclude(store, batch, raters[1])
    vote_batches.close_batch(store, batch)
    four = [(f"four {n}", [f"{n}{letter}" for letter in "wxyz"], ["sample"] * 4) for n in range(2)]
    batch = vote_batches.create_batch(store, name="ranked", mode="best_of_4", items=four, repeat_share=0.0)
    shown = votes.next_item(store, batch, raters[2])
    assert shown is not None
    ranked = {"choice": "ranked", "ranking": [2, 0, 3, 1], "seconds": 9.0}
    votes.cast(store, shown.assignment_id, raters[2], key="ranked-1", **ranked)
    votes.next_item(store, batch, raters[2])  # drawn, not yet judged


def write(data: Path, target: Path, found: dict[str, Any]) -> None:
    """The folder that git keeps."""
    with closing(sqlite3.connect(data / "appliance.db")) as opened:
        lines = "\n".join(opened.iterdump())
    target.mkdir()
    (target / "database.sql").write_text(lines.replace(str(data), DATA) + "\n")
    (target / "seen.json").write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n")
    for file in sorted(data.rglob("*")):
        path = file.relative_to(data)
        kept = file.suffix in ENDINGS and file.stat().st_size <= LARGEST and not path.match("example/start/*/*")
        if file.is_file() and kept and not file.name.startswith("tokenizer"):
            (target / "data" / path).parent.mkdir(parents=True, exist_ok=True)
            (target / "data" / path).write_text(file.read_text().replace(str(data), DATA))


def main() -> None:
    """Everything, in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data folder to make it in; what `train` has made there is kept")
    given = parser.parse_args().data
    with tempfile.TemporaryDirectory() as scratch:
        data = (given or Path(scratch) / "data").absolute()
        data.mkdir(exist_ok=True)
        train(data)
        clock = Clock()
        store = Store(f"sqlite:///{data / 'appliance.db'}", data, clock=clock)
        store.migrate()
        with store.engine.connect() as connection:
            target = HERE / str(migration.version_of(connection))
        if target.exists():
            sys.exit(f"{target} is there: the release that made it wrote it")
        token = fill(store)
        found = {"token": token, "at": clock.now} | seen(store, token, clock.now)
        store.close()
        write(data, target, found)
        print(f"{target}: {sum(file.stat().st_size for file in target.rglob('*')) >> 10} KiB")


if __name__ == "__main__":
    main()
