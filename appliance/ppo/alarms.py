"""Signs that training goes wrong: a run is never stopped by them, but the run's events and its report say so."""

from dataclasses import asdict, dataclass
from typing import Any

from appliance.config.ppo import Alarms

RATIO_LIMIT = 2.0


@dataclass(frozen=True)
class Alarm:
    """What was seen (with its number) and what to do about it."""

    name: str
    what: str
    fix: str


class Watch:
    """Compares each step's metrics with the limits and with the first step; an alarm sounds once until it has cleared."""

    def __init__(
        self,
        limits: Alarms,
        first: dict[str, float] | None = None,
        sounding: list[str] | None = None,
        *,
        may_end: bool = True,
    ) -> None:
        self.limits, self.may_end = limits, may_end
        self.first = first
        self.sounding = list(sounding or [])

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; `Watch(limits, **state)` restores it."""
        return {"first": self.first, "sounding": self.sounding}

    def look(self, metrics: dict[str, float]) -> list[dict[str, str]]:
        """The alarms that begin with this step, as plain records."""
        if self.first is None:
            self.first = {name: metrics[name] for name in ("entropy", "distinct_2", "length_mean")}
        now = self._alarms(metrics, self.first)
        new = [asdict(alarm) for alarm in now if alarm.name not in self.sounding]
        self.sounding = [alarm.name for alarm in now]
        return new

    def _alarms(self, m: dict[str, float], first: dict[str, float]) -> list[Alarm]:
        limits = self.limits
        longer = m["length_mean"] > 1.2 * first["length_mean"]
        checks = (
            (
                m["kl"] > limits.kl_nats_per_sequence or m["kl_k3"] > 4 * limits.kl_nats_per_sequence,
                "kl",
                f"KL to the starting policy is {m['kl']:.1f} nats per response, over {limits.kl_nats_per_sequence:g}",
                "lower optimizer.learning_rate, or raise kl.coef",
            ),
            (
                m["entropy"] < limits.entropy_share * first["entropy"],
                "entropy",
                f"entropy fell to {m['entropy']:.2f} nats per token, from {first['entropy']:.2f}: the policy repeats itself",
                "lower optimizer.learning_rate, raise kl.coef, or set ppo.entropy_coef",
            ),
            (
                m["distinct_2"] < limits.distinct_2_share * first["distinct_2"],
                "distinct_2",
                f"distinct word pairs fell to {m['distinct_2']:.2f}, from {first['distinct_2']:.2f}: the texts are alike",
                "raise kl.coef; look at the samples for a phrase that the reward model likes too much",
            ),
            (
                longer and m["score_length_correlation"] > limits.length_correlation,
                "length",
                f"responses grew to {m['length_mean']:.1f} tokens from {first['length_mean']:.1f}, and longer ones score "
                f"better (correlation {m['score_length_correlation']:.2f})",
                "use a reward that does not pay for length, or a lower sampling.response_tokens",
            ),
            (
                m["ratio_mean"] > RATIO_LIMIT or m["ratio_mean"] < 1 / RATIO_LIMIT,
                "ratio",
                f"the mean probability ratio within a step is {m['ratio_mean']:.2f}, far from 1",
                "lower optimizer.learning_rate or ppo.epochs, or set ppo.stop_kl",
            ),
            (
                self.may_end and m["ended_share"] < limits.ended_share,
                "ended",
                f"only {m['ended_share']:.0%} of the responses end by themselves",
                "raise sampling.response_tokens, or set scores.missing_eos",
            ),
            (
                m["saturated_share"] > limits.saturated_share,
                "saturated",
                f"{m['saturated_share']:.0%} of the scores are at the clip or all alike: nothing is left to learn from",
                "raise scores.clip, use the classifier's logit instead of its probability, or look at the reward",
            ),
            (
                m["skipped_steps"] > 0,
                "skipped",
                f"{m['skipped_steps']:.0f} optimizer steps were skipped: not finite, or ratio over the limit",
                "lower optimizer.learning_rate; with compute: bf16 try fp32",
            ),
        )
        return [Alarm(name, what, fix) for sounds, name, what, fix in checks if sounds]
