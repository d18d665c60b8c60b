"""Single settings of TRL, trlX and NeMo: what each becomes of ours, and which values have no counterpart."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.config import PpoConfig
from appliance.config.importers import import_files
from appliance.config.importers._mapping import flat, nested

FOREIGN = Path(__file__).with_name("foreign")


@pytest.fixture(autouse=True)
def fake_reward() -> None:
    """The real reward sources, not the fake one of this folder's other tests."""


def written(tmp_path: Path, values: dict[str, Any], name: str = "theirs.yaml") -> Path:
    """A file that holds these settings."""
    file = tmp_path / name
    file.write_text(json.dumps(values) if name.endswith("json") else yaml.safe_dump(values))
    return file


def value_at(config: PpoConfig, key: str) -> Any:
    """A config's setting by its dotted key."""
    where: Any = config.model_dump(mode="json")
    for part in key.split("."):
        where = where[part]
    return where


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"kl_penalty": "kl"}, {"kl.estimator": "k1"}),
        ({"kl_penalty": "mse"}, {"kl.estimator": "k2"}),  # (d log p)^2 / 2 on both sides
        ({"early_stopping": False, "target_kl": 1}, {"ppo.stop_kl": None}),
        ({"mini_batch_size": 4, "forward_batch_size": 8}, {"batch.microbatch": 8, "batch.minibatch": 8}),
        ({"use_score_norm": True}, {"scores.center": False}),  # without use_score_scaling TRL does not look at it
        ({"is_peft_model": True}, {"policy.train": "lora"}),
        ({"log_with": "wandb"}, {"trackers": ["wandb"]}),
        ({"max_grad_norm": 0.5}, {"optimizer.max_grad_norm": 0.5}),
        ({}, {"kl.coef": 0.2, "batch.rollout": 128, "batch.steps": 157, "ppo.epochs": 2}),  # TRL's defaults, not ours
    ],
)
def test_settings_of_the_classic_trl(theirs, ours, tmp_path):
    config = import_files("trl", [written(tmp_path, {"ppo_epochs": 2} | theirs)]).config
    assert {key: value_at(config, key) for key in ours} == ours


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {"batch.rollout": 8, "kl.coef": 0.05, "sampling.temperature": 0.7, "sampling.stop_at_eos": False}),
        ({"stop_token": "eos"}, {"sampling.stop_at_eos": True}),
        ({"warmup_ratio": 0.1}, {"optimizer.warmup_share": 0.1}),
        ({"warmup_steps": 0.2}, {"optimizer.warmup_share": 0.2}),  # transformers 5: below 1 it is a share
        ({"per_device_train_batch_size": 16, "num_mini_batches": 4}, {"batch.minibatch": 4, "batch.microbatch": 4}),
        ({"lr_scheduler_type": "SchedulerType.CONSTANT"}, {"optimizer.schedule": "constant"}),
        ({"report_to": "none"}, {"trackers": []}),
    ],
)
def test_settings_of_the_later_trl(theirs, ours, tmp_path):
    config = import_files("trl", [written(tmp_path, {"num_ppo_epochs": 4} | theirs, "args.json")]).config
    assert {key: value_at(config, key) for key in ours} == ours


def trlx_values(**changes: Any) -> dict[str, Any]:
    """The complete trlX file with settings changed by their dotted names, written with two underscores; None drops one."""
    values = flat(yaml.safe_load((FOREIGN / "trlx.yaml").read_text()))
    dropped = {key for key, value in changes.items() if value == "dropped"}
    values = {
        key: value for key, value in values.items() if not any(key.startswith(d.replace("__", ".")) for d in dropped)
    }
    values |= {key.replace("__", "."): value for key, value in changes.items() if key not in dropped}
    return {key: value for key, value in nested(values).items() if key != "stage"}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"model__delta_kwargs": "dropped"}, {"policy.train": "top_layers", "policy.top_layers": 2}),
        ({"model__delta_kwargs": "dropped", "model__num_layers_unfrozen": -1}, {"policy.train": "full"}),
        ({"method__target": None}, {"kl.adaptive": False}),
        ({"method__scale_reward": "running"}, {"scores.scale": "running"}),
        ({"method__cliprange_reward": 0}, {"scores.clip": None}),
        ({"scheduler__kwargs__T_max": 1e12}, {"optimizer.schedule": "constant"}),  # hardly moves in 10000 steps
        ({"scheduler__kwargs__eta_min": 1e-5}, {"optimizer.final_share": pytest.approx(0.1)}),
        (
            {"method__gen_experience_kwargs": {"temperature": 0.5, "max_new_tokens": 12, "do_sample": True}},
            {"sampling.temperature": 0.5, "sampling.response_tokens": {"low": 12, "high": 12}},
        ),
        ({"train__minibatch_size": None}, {"batch.microbatch": 32}),  # then it is batch_size
    ],
)
def test_settings_of_trlx(theirs, ours, tmp_path):
    config = import_files("trlx", [written(tmp_path, trlx_values(**theirs))]).config
    assert {key: value_at(config, key) for key in ours} == ours


@pytest.mark.parametrize(
    ("framework", "theirs", "key", "why"),
    [
        ("trl", {"ppo_epochs": 4, "kl_penalty": "full"}, "kl_penalty", "whole vocabulary"),
        ("trl", {"ppo_epochs": 4, "cliprnage": 0.2}, "cliprnage", "did you mean cliprange?"),
        ("trl", {"ppo_epochs": 4, "my_own_token": "x"}, "my_own_token", "a secret"),
        ("trl", {"num_ppo_epochs": 4, "lr_scheduler_type": "polynomial"}, "lr_scheduler_type", "'polynomial'"),
        ("trl", {"num_ppo_epochs": 4, "stop_token_id": 13}, "stop_token_id", "end tokens"),
        ("trl", {"num_ppo_epochs": 4, "missing_eos_penalty": 1}, "missing_eos_penalty", "stop_token: eos"),
        ("trlx", trlx_values(method__scale_reward="ref"), "method.scale_reward", "starting policy"),
        ("trlx", trlx_values(optimizer__name="sgd"), "optimizer.name", "AdamW is used"),
        ("trlx", trlx_values(method__gen_kwargs__do_sample=False), "method.gen_kwargs.do_sample", "PPO samples"),
        (
            "nemo",
            {"model": {"ppo": {"sampling_params": {"use_greedy": True}}}},
            "model.ppo.sampling_params.use_greedy",
            "PPO",
        ),
        ("nemo", {"trainer": {"ppo": {"max_steps": -1}}}, "trainer.ppo.max_steps", "once"),
        (
            "nemo",
            {"model": {"ppo": {"length_params": {"max_length": "${model.absent}"}}}},
            "model.ppo.length_params.max_length",
            "refers to",
        ),
    ],
)
def test_a_value_without_a_counterpart_is_named(framework, theirs, key, why, tmp_path):
    found = import_files(framework, [written(tmp_path, theirs)])
    assert why in dict(found.left)[key]
