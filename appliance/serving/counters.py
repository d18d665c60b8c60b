"""Counters in the text format that Prometheus reads."""

import threading
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MEANINGS = {
    "requests_total": "requests to score, by the status of the answer",
    "texts_total": "texts that were scored",
    "errors_total": "requests that were not answered with scores",
    "scoring_seconds_total": "seconds that the model was at work",
    "batches_total": "batches that the model read",
}
PREFIX = "appliance_reward_"


@dataclass
class Counters:
    """What the server has done since it began. Threads may add at the same time."""

    values: dict[tuple[str, str], float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, amount: float = 1, *, status: int | None = None) -> None:
        """`amount` more of a counter of MEANINGS, of those with this status."""
        assert name in MEANINGS
        label = "" if status is None else f'{{status="{status}"}}'
        with self.lock:
            self.values[name, label] = self.values.get((name, label), 0) + amount

    def text(self) -> str:
        """Every counter with its meaning and type, in the exposition format 0.0.4."""
        with self.lock:
            known = dict(self.values)
        lines = []
        for name, meaning in MEANINGS.items():
            lines += [f"# HELP {PREFIX}{name} {meaning}", f"# TYPE {PREFIX}{name} counter"]
            mine = sorted((label, value) for (of, label), value in known.items() if of == name)
            if not mine and name != "requests_total":
                mine = [("", 0)]
            lines += [f"{PREFIX}{name}{label} {value:.17g}" for label, value in mine]
        return "\n".join(lines) + "\n"
