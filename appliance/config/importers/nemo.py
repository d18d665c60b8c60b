"""NeMo's RLHF configs: the PPO actor of NeMo-Aligner or of NeMo-RLHF before it, and with it the critic's, if given."""

from typing import Any

from appliance.config.importers._interpolation import resolved
from appliance.config.importers._mapping import Framework, flat, refuse
from appliance.config.importers._nemo_tables import ACTOR, CRITIC

FRAMEWORKS = (ACTOR, CRITIC)


def settings(documents: list[dict[str, Any]]) -> tuple[Framework, dict[str, Any]]:
    """The settings of an actor's file, or of an actor's and a critic's in either order, the latter's under `critic.`.

    `rlhf.` and `ppo.` alone, as NeMo-RLHF's documentation names them, are read as `model.rlhf.` and `model.rlhf.ppo.`.
    Raises ConfigError for anything else.
    """
    found = [_named(flat(resolved(document))) for document in documents]
    critics = [given for given in found if _is_critic(given)]
    actors = [given for given in found if not _is_critic(given)]
    if len(actors) > 1 or len(critics) > 1:
        raise refuse("give one actor's file, and at most one critic's with it")
    if not actors:
        raise refuse("this is a critic's file: give the actor's with it")
    given = actors[0]
    if not any(key.startswith(("trainer.ppo.", "model.ppo.", "model.rlhf.")) for key in given):
        raise refuse("this is no PPO actor of NeMo: it has no section trainer.ppo, model.ppo or model.rlhf")
    if not critics:
        return ACTOR, given
    both = Framework(
        f"{ACTOR.name}, with the critic's",
        {**ACTOR.rows, **{f"critic.{key}": row for key, row in CRITIC.rows.items()}},
        ACTOR.always,
        ACTOR.choose,
    )
    return both, given | {f"critic.{key}": value for key, value in critics[0].items()}


def _is_critic(given: dict[str, Any]) -> bool:
    return "model.loss_clip_val" in given or "trainer.ppo.port" in given


def _named(given: dict[str, Any]) -> dict[str, Any]:
    """The settings under their full names."""
    prefixes = {"rlhf.": "model.rlhf.", "ppo.": "model.rlhf.ppo."}
    full = {}
    for key, value in given.items():
        prefix = next((short for short in prefixes if key.startswith(short)), "")
        full[prefixes.get(prefix, "") + key.removeprefix(prefix)] = value
    return full
