"""TRL's PPOConfig, of the classic trainer (to 0.11) or of the second one (0.12 to 1.x): YAML, or the JSON of its to_dict."""

from typing import Any

from appliance.config.importers._mapping import Framework, flat, refuse
from appliance.config.importers._trl_classic import CLASSIC
from appliance.config.importers._trl_experimental import EXPERIMENTAL

FRAMEWORKS = (CLASSIC, EXPERIMENTAL)


def settings(documents: list[dict[str, Any]]) -> tuple[Framework, dict[str, Any]]:
    """Which of the two PPOConfigs a file holds, by the settings that only one of them has; and its settings."""
    if len(documents) != 1:
        raise refuse(f"a TRL config is one file, not {len(documents)}")
    given = flat(documents[0])
    only = [set(mine.rows) - set(other.rows) for mine, other in ((CLASSIC, EXPERIMENTAL), (EXPERIMENTAL, CLASSIC))]
    classic, experimental = (len(keys & set(given)) for keys in only)
    if classic == experimental:
        names = [
            ", ".join(sorted(keys)[:3])
            for keys in ({"ppo_epochs", "init_kl_coef", "steps"}, {"num_ppo_epochs", "kl_coef", "response_length"})
        ]
        raise refuse(
            "this could be either of TRL's two PPOConfigs, or neither: it has as many settings of the classic one "
            f"({names[0]}, ...) as of the later one ({names[1]}, ...)"
        )
    return (CLASSIC if classic > experimental else EXPERIMENTAL), given
