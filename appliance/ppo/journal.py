"""What a run writes down: one line a step in metrics.jsonl, samples, alarms, timings; and what is shown meanwhile."""

import math
from collections.abc import Callable
from typing import Any

from appliance.progress import Progress
from appliance.store.rundir import RunDir

Tracker = Callable[[dict[str, float], int], None]
"""Logs a step's numbers somewhere else (TensorBoard, ...)."""


class Journal:
    """Writes a run's logs. metrics.jsonl is on disk before a step counts as done, so that no checkpoint is ahead of it."""

    def __init__(self, run: RunDir, steps: int, shown: Progress, tracker: Tracker | None) -> None:
        self.run, self.steps, self.shown, self.tracker = run, steps, shown, tracker
        self.at_step = 0

    def step(
        self,
        metrics: dict[str, float],
        *,
        samples: list[dict[str, Any]],
        alarms: list[dict[str, str]] | None = None,
        timings: dict[str, float] | None = None,
    ) -> None:
        """Enter a finished step. A number that is not finite becomes null, and an alarm of its own."""
        self.at_step = int(metrics["step"])
        broken = [name for name, value in metrics.items() if not math.isfinite(value)]
        sounding = list(alarms or [])
        if broken:
            fix = "lower optimizer.learning_rate; with compute: bf16 try fp32"
            sounding.append({"name": "not_finite", "what": f"not finite: {', '.join(broken)}", "fix": fix})
        for alarm in sounding:
            self._event("alarm", alarm)
            self.shown.say(f"  alarm at step {self.at_step}: {alarm['what']}. {alarm['fix']}.")
        for record in samples:
            self.run.append("samples.jsonl", {"step": self.at_step} | record)
        if timings is not None:
            self.run.append("timings.jsonl", {"step": self.at_step} | timings)
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self.run.append("metrics.jsonl", finite, sync=True)
        if self.tracker is not None:
            self.tracker({name: value for name, value in metrics.items() if name not in broken}, self.at_step)
        if self.at_step > 0:
            self.run.set_status("running", step=self.at_step, steps=self.steps)
            self.shown.advance(score=metrics["score_mean"], kl=metrics["kl"])

    def notice(self, text: str) -> None:
        """Something that the person who started the run should know: shown, and kept in events.jsonl."""
        self._event("notice", {"what": text})
        self.shown.say(f"  {text}")

    def _event(self, kind: str, record: dict[str, str]) -> None:
        self.run.append("events.jsonl", {"step": self.at_step, "kind": kind} | record)
