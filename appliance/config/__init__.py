"""Configs: YAML checked by pydantic. One model per stage; `load` reads a file, applies overrides and explains errors."""

from appliance.config.load import load, parse, stage_of, to_yaml
from appliance.config.paths import absolute
from appliance.config.ppo import PpoConfig
from appliance.config.reward import RewardConfig
from appliance.config.sft import SftConfig

__all__ = ["PpoConfig", "RewardConfig", "SftConfig", "absolute", "load", "parse", "stage_of", "to_yaml"]
