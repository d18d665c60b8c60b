"""Which checks are asked, in which order, and what becomes of one that crashes, hangs or stands on another that failed."""

import importlib
import json
import threading
import time
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from appliance import parts, settings
from appliance.config import load as load_config
from appliance.errors import ApplianceError
from appliance.preflight import need as needs_of
from appliance.preflight.check import BOUND_S, LEVELS, SECTIONS, Check, Fact
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, skip, warn


@dataclass(frozen=True)
class Observation:
    """What a probe brought: its fact, or the problem (crash, no answer) that kept it from one."""

    fact: Fact
    problem: str | None
    duration_ms: int


@dataclass(frozen=True)
class Outcome:
    """A check with its verdict; `observation` is None where the probe was not run. `crashed`: the check itself failed."""

    check: Check
    verdict: Verdict
    observation: Observation | None = None
    crashed: bool = False


@dataclass(frozen=True)
class Report:
    """Everything that is printed. `left_out`: ids that the user asked to skip."""

    stage: str
    level: str
    need: Need
    outcomes: tuple[Outcome, ...]
    left_out: tuple[str, ...]
    duration_s: float

    def count(self, status: str) -> int:
        """How many checks ended so."""
        return sum(outcome.verdict.status == status for outcome in self.outcomes)

    def exit_code(self, fail_on: str = "fail") -> int:
        """0 no failure, 1 a failure (or a warning under fail_on "warn"), 2 nothing could be measured at all."""
        if self.count("fail") or (fail_on == "warn" and self.count("warn")):
            return 1
        return 2 if self.count("skip") == len(self.outcomes) else 0


def all_checks() -> dict[str, Check]:
    """Every check by id, in the order of the report: by section, then what others need first, then by family."""
    found: dict[str, Check] = {}
    for family in parts.names("preflight/checks"):
        for check in importlib.import_module(f"appliance.preflight.checks.{family}").CHECKS:
            if check.id in found:
                raise ValueError(f"two checks have the id {check.id}")
            found[check.id] = check
    depth = {check.id: number for number, group in enumerate(waves(list(found.values()))) for check in group}
    return dict(sorted(found.items(), key=lambda item: (SECTIONS.index(item[1].section), depth[item[0]])))


def known(ids: tuple[str, ...], checks: dict[str, Check]) -> tuple[str, ...]:
    """The ids, all of which exist. Raises ApplianceError that names the near ones."""
    for id in ids:
        if id not in checks:
            near = get_close_matches(id, checks, n=3) or [name for name in checks if name.split(".")[0] == id]
            hint = f"did you mean {', '.join(near)}? " if near else ""
            raise ApplianceError(f"there is no check {id!r}", f"{hint}`appliance preflight list` shows all ids")
    return ids


def select(stage: str, level: str, only: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> list[Check]:
    """The checks for a stage up to a level, or those of `only` whatever their level.

    Raises ApplianceError for an id that does not exist, and for one of `only` that the stage does not have.
    """
    checks = all_checks()
    known(only + without, checks)
    elsewhere = [id for id in only if checks[id].scope not in (stage, "both")]
    if elsewhere:
        raise ApplianceError(
            f"there is no {', '.join(elsewhere)} in --stage {stage}",
            f"ask with --stage {checks[elsewhere[0]].scope}, or leave it out of --only",
        )
    depth = LEVELS.index(level)  # type: ignore[arg-type]
    chosen = [
        check
        for check in checks.values()
        if check.scope in (stage, "both")
        and (check.id in only if only else LEVELS.index(check.level) <= depth)
        and check.id not in without
    ]
    if not chosen:
        raise ApplianceError(
            f"no check is left for --stage {stage} --level {level}", "see `appliance preflight list` for their stages"
        )
    return chosen


def need_for(host: Host, config_file: Path | None = None) -> Need:
    """What is asked of the machine: the image's manifest where there is one, then the recipe's."""
    found = settings.read(dict(host.environ))
    need = needs_of.from_manifest(host.read_text(needs_of.MANIFEST), Need())
    need = replace(need, data=str(found.data.absolute()), offline=found.offline)
    return need if config_file is None else needs_of.from_config(load_config(config_file), need)


def waves(checks: list[Check]) -> list[list[Check]]:
    """The checks in groups; each needs only checks of earlier groups. Needs that are not selected do not count."""
    left = {check.id: check for check in checks}
    groups = []
    while left:
        group = [check for check in left.values() if not any(need in left for need in check.needs)]
        if not group:
            raise ValueError(f"checks need each other in a circle: {', '.join(left)}")
        groups.append(group)
        for check in group:
            del left[check.id]
    return groups


class Source(Protocol):
    """Where observations come from: this machine, or a file of facts."""

    def start(self, check: Check) -> None:
        """Ask for a check's observation; it comes out of `next`, in any order."""

    def next(self) -> tuple[str, Observation | None]:
        """Id and observation of a check that was started; None: this source has nothing on it."""


def examine(checks: list[Check], need: Need, source: Source) -> tuple[Outcome, ...]:
    """Every check's outcome, in the given order. One root cause fails once: what stands on it is skipped, naming it."""
    by_id = {check.id: check for check in checks}
    waves(checks)  # raises where checks need each other in a circle
    left, running = dict(by_id), set[str]()
    done: dict[str, Outcome] = {}
    root: dict[str, str] = {}  # of a check that did not pass: the id that everything above it waits for
    while left or running:
        for check in list(left.values()):
            if any(id in left or id in running for id in check.needs):
                continue
            del left[check.id]
            missing = next((root[id] for id in check.needs if id in root), None)
            if missing is None:
                source.start(check)
                running.add(check.id)
            else:
                done[check.id] = Outcome(check, skip(f"needs {missing}"))
                root[check.id] = missing
        if running:
            id, seen = source.next()
            running.remove(id)
            outcome = done[id] = judged(by_id[id], need, seen)
            if outcome.verdict.status in ("fail", "skip") or outcome.crashed:
                root[id] = id
    return tuple(done[check.id] for check in checks)


def judged(check: Check, need: Need, seen: Observation | None) -> Outcome:
    """The check's verdict on what was seen; a crash or a time-out fails where the check blocks and warns elsewhere."""
    if seen is None:
        return Outcome(check, skip("not in the file of facts"))
    if seen.problem is None:
        try:
            return Outcome(check, check.judge(seen.fact, need), seen)
        except Exception as error:  # one of the two edges: a check's bug must not hide the other checks
            seen = replace(seen, problem=f"the judgement crashed: {type(error).__name__}: {error}")
    say = fail if check.blocking else warn
    verdict = say(
        seen.problem or "",
        "an answer",
        why="The check itself did not finish, so this part of the machine is not known to be good."
        + (" It blocks training, so it counts as a failure." if check.blocking else ""),
        fix=f"appliance preflight --only {check.id}\n# the same again? Then look at: appliance preflight explain {check.id}",
    )
    return Outcome(check, verdict, seen, crashed=True)


class Live:
    """Probes on this machine: quick ones side by side, the others one by one, all within the level's bound."""

    def __init__(self, host: Host, level: str) -> None:
        self.host = host
        host.deadline = time.monotonic() + BOUND_S[level] - 0.5  # the half second is for printing
        self.finished: SimpleQueue[tuple[str, Observation]] = SimpleQueue()
        self.running: dict[str, tuple[float, float]] = {}  # id: begun, given up at
        self.waiting: list[Check] = []

    def start(self, check: Check) -> None:
        """Begin a quick probe now, another when nothing else runs."""
        if check.level == "quick":
            self._begin(check)
        else:
            self.waiting.append(check)

    def next(self) -> tuple[str, Observation]:
        """The next probe to end or to be given up, whose thread is then left behind."""
        if not self.running:
            self._begin(self.waiting.pop(0))
        while True:
            first = min(self.running, key=lambda id: self.running[id][1])
            try:
                id, seen = self.finished.get(timeout=max(0.0, self.running[first][1] - time.monotonic()))
            except Empty:
                waited = time.monotonic() - self.running.pop(first)[0]
                return first, Observation(None, f"no answer in {waited:.1f} s", round(1000 * waited))
            if self.running.pop(id, None):  # else it was given up before
                return id, seen

    def _begin(self, check: Check) -> None:
        begun = time.monotonic()
        self.running[check.id] = begun, min(begun + check.timeout_s, self.host.deadline + 0.2)

        def ask() -> None:
            fact, problem = None, None
            try:
                fact = json.loads(json.dumps(check.probe(self.host)))  # so that a replay judges the very same
            except Exception as error:  # one of the two edges: a check's bug must not hide the other checks
                problem = f"the probe crashed: {type(error).__name__}: {error}"
            self.finished.put((check.id, Observation(fact, problem, round(1000 * (time.monotonic() - begun)))))

        threading.Thread(target=ask, daemon=True).start()
