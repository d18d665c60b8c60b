"""Read a YAML config, apply `section.key=value` overrides, and explain every error by file, key and value."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError, create_model

from appliance import parts
from appliance.config.base import StageConfig
from appliance.config.ppo import PpoConfig
from appliance.config.reward import RewardConfig
from appliance.config.sft import SftConfig
from appliance.errors import ConfigError

STAGES: dict[str, type[StageConfig]] = {"sft": SftConfig, "reward": RewardConfig, "ppo": PpoConfig}


def load(path: Path, overrides: tuple[str, ...] = (), *, stage: str | None = None) -> StageConfig:
    """The checked config in `path` with `overrides` (`section.key=value`) applied; `stage` is what it must be for.

    Raises ConfigError that lists every problem at once: unknown keys with the nearest known one, values with their range.
    """
    values = _read_yaml(path)
    for override in overrides:
        _apply(values, override)
    found = stage_of(values, origin=path.name)
    if stage is not None and found != stage:
        raise ConfigError(
            f"{path.name} is a config for {found}, not {stage}", f"run `appliance train {found} --config {path}`"
        )
    return parse(values, origin=path.name)


def parse(values: dict[str, Any], *, origin: str) -> StageConfig:
    """The config in a plain dict; `origin` names it in messages. Raises ConfigError."""
    model = STAGES[stage_of(values, origin=origin)]
    try:
        config = model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            _explain(error, model, origin), f"correct {origin} (`appliance validate` checks it again)"
        ) from None
    if isinstance(config, PpoConfig):
        config = config.model_copy(update={"reward": part_options("rewards", config.reward, where=f"{origin}: reward")})
        opinion = config.evaluation.second_opinion
        if opinion is not None:
            options = part_options("rewards", opinion, where=f"{origin}: evaluation.second_opinion")
            config = config.model_copy(
                update={"evaluation": config.evaluation.model_copy(update={"second_opinion": options})}
            )
    return config


def load_reward(path: Path) -> tuple[dict[str, Any], PpoConfig | None]:
    """The checked reward section of a PPO config, and the config; or of a file that holds nothing but `reward:`.

    Raises ConfigError as `load` does.
    """
    values = _read_yaml(path)
    if values.keys() == {"reward"} and isinstance(values["reward"], dict):
        return part_options("rewards", values["reward"], where=f"{path.name}: reward"), None
    if values.get("stage") != "ppo":
        raise ConfigError(
            f"{path.name} is neither a PPO config nor a reward section; its keys are: {', '.join(map(str, values))}",
            "give a config with `stage: ppo`, or a file with the section `reward:` alone",
        )
    config = load(path, stage="ppo")
    assert isinstance(config, PpoConfig)
    return config.reward, config


def stage_of(values: dict[str, Any], *, origin: str) -> str:
    """Which stage a config is for. Raises ConfigError when its `stage` key is absent or unknown."""
    stage = values.get("stage")
    if not isinstance(stage, str) or stage not in STAGES:
        raise ConfigError(
            f"{origin}: stage is {stage!r}", f"begin the file with one of: stage: {', stage: '.join(STAGES)}"
        )
    return stage


def part_options(
    folder: str, section: dict[str, Any], *, where: str, also: type[BaseModel] | None = None
) -> dict[str, Any]:
    """The options of a registry part, checked by the part's own `Options`, with its defaults filled in.

    `also` holds keys that may stand beside the part's own where it is one of several. Raises ConfigError.
    """
    if not isinstance(section.get("source"), str):
        raise ConfigError(f"{where}.source is missing", f"choose one of: {', '.join(parts.names(folder))}")
    name = section["source"]
    options: type[BaseModel] = parts.load(folder, name).Options
    if also is not None:
        options = create_model("Options", __base__=(also, options))
    given = {key: value for key, value in section.items() if key != "source"}
    try:
        checked = options.model_validate(given)
    except ValidationError as error:
        raise ConfigError(_explain(error, options, where), f"correct the options of {name!r}") from None
    return {"source": name, **checked.model_dump(mode="json")}


def to_yaml(config: StageConfig) -> str:
    """The whole config as YAML, defaults included: what a run keeps, and what `load` reads back to the same config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


class _OneOfEach(yaml.SafeLoader):
    """YAML's safe loader, which takes no key twice: the second would silently replace the first."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)  # as written: `<<` adds keys to a node only later
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.composer.ComposerError(
                    None, None, f"the key {key.value!r} stands here twice", key.start_mark
                )
            seen.add(key.value)
        return node


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no config file {path}", "check the path; the recipes are in configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "give a UTF-8 text file that you may read") from None
    try:
        values = yaml.load(text, _OneOfEach)  # a SafeLoader
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise ConfigError(f"{path.name} is not YAML: {error}", "correct it; indentation and colons matter") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path.name} holds no settings", "write `key: value` lines; see configs/ for examples")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override!r} is not section.key=value", "for example: --set kl.coef=0.1")
    *sections, last = key.strip().split(".")
    where = values
    for section in sections:
        if where.get(section) is None:
            where[section] = {}
        where = where[section]
        if not isinstance(where, dict):
            raise ConfigError(f"--set {key}: {section!r} holds a value, not a section", "name a key inside a section")
    try:
        where[last] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(
            f"--set {key}: {text!r} is not a YAML value", "quote it, for example --set 'name=\"a: b\"'"
        ) from None


def _explain(error: ValidationError, model: type[BaseModel], origin: str) -> str:
    return "\n".join(_line(dict(item), model, origin) for item in error.errors(include_url=False))


def _line(item: dict[str, Any], model: type[BaseModel], origin: str) -> str:
    location = [str(part) for part in item["loc"]]
    key = ".".join(location)
    if item["type"] == "extra_forbidden":
        known = list(_section_at(model, location[:-1]).model_fields)
        near = get_close_matches(location[-1], known, n=1, cutoff=0.5) or [
            k for k in known if k.startswith(location[-1][:3])
        ]
        hint = f"did you mean {'.'.join([*location[:-1], near[0]])}?" if near else f"the keys are: {', '.join(known)}"
        return f"{origin}: {key} is an unknown key; {hint}"
    if item["type"] == "missing":
        return f"{origin}: {key} is missing"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if item["type"] == "value_error":
        return f"{origin}: {key + ': ' if key else ''}{message}"
    return f"{origin}: {key} is {item['input']!r}; {message}"


def _section_at(model: type[BaseModel], location: list[str]) -> type[BaseModel]:
    for part in location:
        field = model.model_fields.get(part)
        if field is None:
            return model
        candidates = [field.annotation, *get_args(field.annotation)]
        inner = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not inner:
            return model
        model = inner[0]
    return model
