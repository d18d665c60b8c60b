"""Configs from files: overrides, the round trip, and a message for everything that a person gets wrong."""

import subprocess
import sys

import pytest
import yaml
from pydantic import ValidationError

from appliance.config import PpoConfig, RewardConfig, SftConfig, load, parse, stage_of, to_yaml
from appliance.errors import ConfigError


def refused(path, *overrides: str, stage: str | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, stage=stage)
    return caught.value


@pytest.mark.parametrize(("stage", "model"), [("ppo", PpoConfig), ("sft", SftConfig), ("reward", RewardConfig)])
def test_the_shortest_config_of_each_stage_loads(write, minimal, stage, model):
    assert isinstance(load(write(minimal[stage]), stage=stage), model)


@pytest.mark.parametrize("stage", ["ppo", "sft", "reward"])
def test_to_yaml_reads_back_to_the_same_config(write, minimal, stage):
    first = load(write(minimal[stage]), ("seed=7",))
    text = to_yaml(first)
    again = parse(yaml.safe_load(text), origin="again")
    assert again == first
    assert to_yaml(again) == text


def test_a_config_with_every_kind_of_value_survives_the_round_trip(write, minimal):
    path = write(
        minimal["ppo"]
        + """
trackers: [tensorboard, mlflow]
sampling: {response_tokens: [2, 8], top_p: 0.9, stop_at_eos: false}
evaluation: {second_opinion: {source: fake, words: [ja, "nö"]}}
kl: {coef: 1e-5, adaptive: false}
ppo: {value_clip: null}
"""
    )
    first = load(path)
    assert first.kl.coef == 1e-5
    assert first.ppo.value_clip is None
    assert first.evaluation.second_opinion == {"source": "fake", "words": ["ja", "nö"], "weight": 1.0}
    assert parse(yaml.safe_load(to_yaml(first)), origin="again") == first


def test_a_reward_s_defaults_are_filled_in(write, minimal):
    assert load(write(minimal["ppo"])).reward == {"source": "fake", "words": ["good"], "weight": 1.0}


def test_a_config_is_frozen(write, minimal):
    config = load(write(minimal["ppo"]))
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3
    with pytest.raises(ValidationError, match="frozen"):
        config.kl.coef = 3


# --- what a person gets wrong in the file


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        ("kl: {coeff: 0.1}", "c.yaml: kl.coeff is an unknown key; did you mean kl.coef?"),
        ("sampeling: {}", "c.yaml: sampeling is an unknown key; did you mean sampling?"),
        ("kl: {zzz: 1}", "c.yaml: kl.zzz is an unknown key; the keys are: placement, estimator, coef, adaptive, "),
        ("kl: {coef: -1}", "c.yaml: kl.coef is -1; input should be greater than or equal to 0"),
        ("kl: {coef: .nan}", "c.yaml: kl.coef is nan; input should be"),
        ("kl: {coef: .inf}", "c.yaml: kl.coef is inf; input should be a finite number"),
        ("seed: one", "c.yaml: seed is 'one'; input should be a valid integer"),
        ("device: gpu", "c.yaml: device is 'gpu'; input should be 'auto', 'cpu' or 'cuda'"),
        ("name: a/b", "c.yaml: name is 'a/b'; string should match pattern"),
        ("trackers: [nothing]", "c.yaml: trackers.0 is 'nothing'; input should be 'tensorboard', 'wandb' or 'mlflow'"),
        ("batch: {rollout: 64, minibatch: 12}", "c.yaml: batch: minibatch 12 does not divide rollout 64. Use 8 or 16"),
        ("batch: {rollout: 64, minibatch: 128}", "c.yaml: batch: minibatch 128 does not divide rollout 64. Use 32 or"),
        (
            "batch: {rollout: 64, minibatch: 16, microbatch: 7}",
            "c.yaml: batch: microbatch 7 does not divide minibatch 16. Use 4 or 8",
        ),
        ("batch: {minibatch: 0}", "c.yaml: batch.minibatch is 0; input should be greater than or equal to 1"),
        ("sampling: {response_tokens: [8, 2]}", "c.yaml: sampling.response_tokens: the range [8, 2] is empty. Write"),
        ("sampling: {response_tokens: [0, 2]}", "c.yaml: sampling.response_tokens.low is 0; input should be greater"),
        ("sampling: {engine: warp}", "c.yaml: sampling: engine 'warp' is unknown. Choose auto, "),
        ("kl: {placement: loss}", "c.yaml: kl: k1 in the loss has a gradient of zero on average. Use k2 or k3"),
        ("critic: {kind: separate}", "c.yaml: critic: model goes with kind: separate. Set both, or neither"),
        ("critic: {model: rm}", "c.yaml: critic: model goes with kind: separate. Set both, or neither"),
        ("scores: {center: true}", "c.yaml: scores: center goes with scale: running. Set it, or center: false"),
        ("evaluation: {second_opinion: {}}", "c.yaml: evaluation.second_opinion.source is missing"),
        ("kl:", "c.yaml: kl is None; input should be a valid dictionary"),
    ],
)
def test_a_mistake_is_named_with_its_file_key_and_value(write, minimal, extra, what):
    error = refused(write(minimal["ppo"] + extra))
    assert error.what.startswith(what), error.what
    assert error.fix


def test_every_mistake_is_listed_at_once(write, minimal):
    error = refused(write(minimal["ppo"] + "seed: -1\nkl: {coeff: 1}\nppo: {epochs: 0}"))
    assert [line.split(" is ")[0] for line in error.what.splitlines()] == [
        "c.yaml: seed",
        "c.yaml: ppo.epochs",
        "c.yaml: kl.coeff",
    ]
    assert error.fix == "correct c.yaml (`appliance validate` checks it again)"


def test_missing_sections_are_named(write):
    error = refused(write("stage: ppo\npolicy: {model: x}\n"))
    assert error.what.splitlines() == ["c.yaml: reward is missing", "c.yaml: prompts is missing"]


@pytest.mark.parametrize(
    ("reward", "what"),
    [
        ("{}", "c.yaml: reward.source is missing"),
        ("{source: 3}", "c.yaml: reward.source is missing"),
        ("{source: nothing}", "there is no 'nothing' in rewards"),
        ("{source: fake, wieght: 2}", "c.yaml: reward: wieght is an unknown key; did you mean weight?"),
        ("{source: fake, weight: 0}", "c.yaml: reward: weight is 0; input should be greater than 0"),
    ],
)
def test_a_reward_s_options_are_checked_by_the_reward(write, minimal, reward, what):
    text = minimal["ppo"].replace("  source: fake\n", "").replace("reward:", f"reward: {reward}")
    error = refused(write(text))
    assert error.what.startswith(what), error.what
    assert error.fix


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("policy: {model: x}", "c.yaml: stage is None"),
        ("stage: rlhf", "c.yaml: stage is 'rlhf'"),
        ("stage: [ppo]", "c.yaml: stage is ['ppo']"),
        ("stage: {ppo: 1}", "c.yaml: stage is {'ppo': 1}"),
        ("- stage", "c.yaml holds no settings"),
        ("", "c.yaml holds no settings"),
        ("stage: ppo\n  seed: 1", "c.yaml is not YAML: "),
        ("stage: ppo\nseed: !!python/object:os.system {}", "c.yaml is not YAML: "),
        ("stage: ppo\nname: 2026-99-01", "c.yaml is not YAML: "),
    ],
)
def test_a_file_that_is_no_config_says_why(write, text, what):
    error = refused(write(text))
    assert error.what.startswith(what), error.what
    assert error.fix


def test_keys_that_are_no_words_are_named(write, minimal):
    assert "c.yaml: 7 is " in refused(write(minimal["ppo"] + "7: 1")).what


def test_the_wrong_stage_is_named_with_the_command_for_the_right_one(write, minimal):
    path = write(minimal["sft"])
    error = refused(path, stage="ppo")
    assert error.what == "c.yaml is a config for sft, not ppo"
    assert error.fix == f"run `appliance train sft --config {path}`"


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    assert refused(tmp_path / "absent.yaml").what == f"there is no config file {tmp_path / 'absent.yaml'}"
    assert refused(tmp_path).what.startswith(f"{tmp_path} cannot be read: ")
    (tmp_path / "latin.yaml").write_bytes("stage: ppo # ä".encode("latin-1"))
    error = refused(tmp_path / "latin.yaml")
    assert error.what.startswith(f"{tmp_path / 'latin.yaml'} cannot be read: ")
    assert error.fix == "give a UTF-8 text file that you may read"


def test_stage_of_reads_the_stage():
    assert stage_of({"stage": "sft"}, origin="x") == "sft"


# --- overrides


def test_overrides_change_single_keys_and_later_ones_win(write, minimal):
    config = load(
        write(minimal["ppo"] + "kl: {coef: 0.5, adaptive: false}"),
        (
            "kl.coef=0.1",
            "kl.coef=1e-3",
            "name=a-b",
            "sampling.response_tokens=[2, 8]",
            "ppo.value_clip=null",
            " seed =5",
            "evaluation.second_opinion.source=fake",
        ),
    )
    assert (config.kl.coef, config.kl.adaptive) == (1e-3, False)
    assert (config.name, config.seed) == ("a-b", 5)
    assert (config.sampling.response_tokens.low, config.sampling.response_tokens.high) == (2, 8)
    assert config.ppo.value_clip is None
    assert config.evaluation.second_opinion["source"] == "fake"


def test_an_override_s_value_may_hold_an_equals_sign(write, minimal):
    assert load(write(minimal["ppo"]), ("prompts.source=a=b.txt",)).prompts.source == "a=b.txt"


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("kl.coef", "--set 'kl.coef' is not section.key=value"),
        ("=1", "--set '=1' is not section.key=value"),
        ("seed.x=1", "--set seed.x: 'seed' holds a value, not a section"),
        ("name=a: b: c", "--set name: 'a: b: c' is not a YAML value"),
        ("name=2026-99-01", "--set name: '2026-99-01' is not a YAML value"),
        ("kl.coeff=1", "c.yaml: kl.coeff is an unknown key; did you mean kl.coef?"),
        ("kl.coef=", "c.yaml: kl.coef is None; input should be a valid number"),
        ("kl..coef=1", "c.yaml: kl. is an unknown key"),
        ("stage=sft", "c.yaml: reward is an unknown key"),
    ],
)
def test_an_override_that_cannot_be_applied_says_why(write, minimal, override, what):
    error = refused(write(minimal["ppo"] + "seed: 1"), override)
    assert what in error.what, error.what
    assert error.fix


def test_an_override_may_fill_a_section_that_the_file_leaves_empty(write, minimal):
    assert load(write(minimal["ppo"] + "kl:"), ("kl.coef=0.3",)).kl.coef == 0.3


# --- no torch


def test_configs_load_without_torch():
    heavy = "{'torch', 'transformers', 'trl', 'peft', 'datasets', 'numpy'}"
    code = f"import appliance.config, appliance.store.rundir, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("policy: {model: opt}", "policy"),
        ("kl: {coef: 0.1, adaptive: false, coef: 0.2}", "coef"),
        ("sampling:\n  top_p: 0.9\n  top_k: 3\n  top_p: 0.8", "top_p"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_line(write, minimal, more, key):
    path = write(minimal["ppo"] + more + "\n")
    error = refused(path)
    assert f"the key '{key}' stands here twice" in error.what
    line = max(n for n, text in enumerate(path.read_text().splitlines(), start=1) if f"{key}:" in text)
    assert f"line {line}," in error.what


def test_a_merged_section_may_have_keys_of_its_own(write, minimal):
    more = "kl: {<<: &kl {coef: 0.1, adaptive: true}, adaptive: false}\n"
    found = load(write(minimal["ppo"] + more))
    assert (found.kl.coef, found.kl.adaptive) == (0.1, False)


@pytest.mark.parametrize("text", ["{[a, b]: 1}", "? {a: 1}\n: 2"])
def test_a_key_that_is_no_word_is_refused(write, text):
    assert "is not YAML: " in refused(write(text)).what


def test_the_same_key_in_merged_sections_is_not_twice(write, minimal):
    """`one` is merged into `kl` before it is read itself, deeper down; its keys stand there once all the same."""
    text = "policy: {model: gpt2, lora: {more: {deep: &one {<<: {coef: 1.0}, coef: 0.1}}}}\nkl: {<<: *one}\n"
    error = refused(write(minimal["ppo"].replace("policy:\n  model: gpt2\n", text)))
    assert "twice" not in error.what
    assert "lora.more is an unknown key" in error.what
