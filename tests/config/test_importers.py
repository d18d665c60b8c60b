"""Configs of TRL, trlX and NeMo become ours with equal values; what has no counterpart is named, and secrets stay behind."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance import parts
from appliance.config import PpoConfig, load, parse
from appliance.config.importers import import_files
from appliance.config.importers._interpolation import resolved
from appliance.config.importers._mapping import CHOOSE, Imported, flat, imported, table, to_text
from appliance.config.importers._nemo_tables import DOCUMENTED
from appliance.errors import ConfigError

FOREIGN = Path(__file__).with_name("foreign")
README = Path(__file__).parents[2] / "configs" / "README.md"
FILES = {
    "trl-classic": ("trl", ["trl-classic.yaml"]),
    "trl-experimental": ("trl", ["trl-experimental.json"]),
    "trlx": ("trlx", ["trlx.yaml"]),
    "nemo": ("nemo", ["nemo-actor.yaml"]),
    "nemo-critic": ("nemo", ["nemo-critic.yaml", "nemo-actor.yaml"]),
    "nemo-rlhf": ("nemo", ["nemo-rlhf.yaml"]),
}
FRAMEWORKS = [
    (name, kind) for name in ("trl", "trlx", "nemo") for kind in parts.load("config/importers", name).FRAMEWORKS
]


@pytest.fixture(autouse=True)
def fake_reward() -> None:
    """The real reward sources, not the fake one of this folder's other tests."""


def taken(which: str) -> Imported:
    """What the importer makes of the files of that name."""
    framework, names = FILES[which]
    return import_files(framework, [FOREIGN / name for name in names])


def value_at(config: PpoConfig, key: str) -> Any:
    """A config's setting by its dotted key."""
    where: Any = config.model_dump(mode="json")
    for part in key.split("."):
        where = where[part]
    return where


@pytest.mark.parametrize("which", FILES)
def test_what_is_written_is_read_back_as_the_same_config_with_equal_values(which, tmp_path):
    found = taken(which)
    file = tmp_path / "ours.yaml"
    file.write_text(to_text(found, origin="theirs", command="appliance config import"))
    assert load(file) == found.config
    for key, value in found.values.items():
        ours = value_at(found.config, key)
        if key == "sampling.response_tokens":
            ours = [ours["low"], ours["high"]]
        assert ours == (list(value) if isinstance(value, tuple) else value), key


@pytest.mark.parametrize("which", FILES)
def test_every_setting_of_a_file_is_taken_over_or_named_with_a_reason(which):
    framework, names = FILES[which]
    documents = [yaml.safe_load((FOREIGN / name).read_text()) for name in names]
    kind, given = parts.load("config/importers", framework).settings(documents)
    found = taken(which)
    left = dict(found.left)
    for key in given:
        assert (key in kind.rows and kind.rows[key].ours) or left[key], key
    assert not [key for key, why in found.left if "unknown to" in why]  # the files are their real settings
    assert all(found.origins[key].strip() for key in found.values)


@pytest.mark.parametrize("which", FILES)
def test_secrets_stay_behind(which, tmp_path):
    found = taken(which)
    text = to_text(found, origin="theirs", command="appliance config import")
    assert "notareal" not in text
    assert "notareal" not in repr(found)


CLASSIC = {
    "name": "gpt2-sentiment",
    "seed": 3,
    "policy.model": "lvwerra/gpt2-imdb",
    "policy.train": "full",
    "prompts.source": "stanfordnlp/imdb",
    "reward.source": "classifier",
    "reward.model": "lvwerra/distilbert-imdb",
    "reward.label": "POSITIVE",
    "batch.steps": 79,  # 20000 samples / 256 = 78.1
    "batch.rollout": 256,
    "batch.minibatch": 128,  # 32 x 4
    "batch.microbatch": 32,
    "ppo.epochs": 3,
    "ppo.stop_kl": 0.15,  # TRL stops above 1.5 x 0.1
    "kl.estimator": "abs",
    "kl.target_nats_per_sequence": 4.0,
    "kl.horizon_sequences": 8000,
    "scores.scale": "running",
    "scores.center": True,
    "scores.clip": 5.0,
    "optimizer.learning_rate": 1.41e-5,
    "optimizer.betas": [0.9, 0.999],
    "optimizer.schedule": "constant",
}
EXPERIMENTAL = {
    "name": "tldr",
    "seed": 7,
    "device": "cpu",
    "policy.model": "models/sft",
    "critic.model": "models/rm",
    "reward.model": "models/rm",
    "batch.steps": 157,  # 10000 episodes / 64 = 156.25
    "batch.rollout": 64,  # 16 x 4
    "batch.minibatch": 32,  # in two
    "batch.microbatch": 16,
    "sampling.response_tokens": {"low": 53, "high": 53},
    "sampling.temperature": 0.9,
    "sampling.stop_at_eos": True,  # to_dict hides stop_token; a penalty for its absence says that there is one
    "scores.missing_eos": "subtract",
    "scores.missing_eos_penalty": 1.0,
    "kl.coef": 0.07,
    "kl.estimator": "k3",
    "kl.adaptive": False,
    "optimizer.schedule": "cosine",
    "optimizer.warmup_share": 8 / 157,  # TRL steps the schedule once for each rollout
    "checkpoint.every_steps": 16,  # a tenth of 157
    "trackers": ["tensorboard"],
}
TRLX = {
    "policy.model": "facebook/opt-1.3b",
    "policy.train": "lora",
    "policy.lora": {
        "rank": 8,
        "alpha": 16.0,
        "targets": ["q_proj", "k_proj", "v_proj", "out_proj"],
        "dropout": 0.05,
        "last_layers": 2,
    },
    "batch.steps": 625,  # 10000 optimizer steps, 16 for each rollout: 4 epochs of 128 / 32
    "batch.rollout": 128,
    "batch.minibatch": 32,
    "batch.microbatch": 8,
    "kl.coef": 0.05,
    "kl.adaptive": True,
    "kl.target_nats_per_sequence": 6.0,
    "scores.clip": 10.0,
    "ppo.value_coef": 1.0,
    "sampling.response_tokens": {"low": 40, "high": 40},
    "optimizer.learning_rate": 1e-4,
    "optimizer.weight_decay": 1e-6,
    "optimizer.schedule": "cosine",
    "optimizer.final_share": 1.0,  # 1e-4 / 1e-4
    "evaluation.every_steps": 7,  # 100 / 16 = 6.25
    "checkpoint.every_steps": 100,  # 1600 / 16
    "trackers": ["wandb"],
}
NEMO = {
    "name": "megatron_gpt_ppo_actor",
    "compute": "bf16",
    "seed": 1234,
    "batch.steps": 100,
    "batch.rollout": 512,
    "batch.minibatch": 64,
    "batch.microbatch": 1,
    "evaluation.every_steps": 10,
    "checkpoint.every_steps": 10,  # ${.val_check_interval}
    "evaluation.prompts": 512,  # ${.num_rollout_samples}
    "kl.coef": 0.01,
    "kl.estimator": "abs",
    "kl.adaptive": False,
    "ppo.entropy_coef": 0.002,
    "ppo.clip": 0.25,
    "ppo.epochs": 1,
    "sampling.temperature": 0.8,
    "sampling.response_tokens": {"low": 2048, "high": 2048},  # ${int_div:4096, 2}
    "optimizer.learning_rate": 9e-7,
    "optimizer.betas": [0.9, 0.98],
    "optimizer.final_share": pytest.approx(0.1),  # 9e-8 / 9e-7
    "optimizer.warmup_share": 10 / 800,  # 100 steps of 512 / 64
    "prompts.source": "/data/train_prompts.jsonl",
    "reward.source": "http",
    "reward.url": "http://reward.example:5555/score",
    "critic.kind": "separate",
}
BOTH = NEMO | {"ppo.value_clip": 0.3, "critic.learning_rate": 9e-6}
RLHF = {
    "ppo.entropy_coef": 0.001,
    "kl.coef": 0.02,
    "kl.estimator": "k1",
    "ppo.epochs": 2,
    "batch.rollout": 256,
    "ppo.clip": 0.15,
    "ppo.gamma": 0.99,
    "ppo.lam": 0.9,
    "ppo.whiten_advantages": False,
    "sampling.temperature": 0.9,
    "sampling.response_tokens": {"low": 256, "high": 256},
    "reward.url": "http://10.0.0.5:5555/score",
}


@pytest.mark.parametrize(
    ("which", "expected"),
    list(zip(FILES, [CLASSIC, EXPERIMENTAL, TRLX, NEMO, BOTH, RLHF], strict=True)),
)
def test_the_values_of_a_complete_file_by_hand(which, expected):
    config = taken(which).config
    for key, value in expected.items():
        assert value_at(config, key) == value, key


def test_every_setting_that_nemo_rlhf_documents_is_answered():
    # the entropy penalty, initial-policy KL penalty, epochs, samples of a rollout, its micro-batch, the ratio's epsilon,
    # discount, GAE's lambda, normalised advantages and the sampling parameters
    for key, ours in {
        "entropy_penalty": ("ppo.entropy_coef",),
        "inital_pollicy_kl_penalty": ("kl.coef", "kl.adaptive"),
        "use_absolute_kl": ("kl.estimator",),
        "epochs": ("ppo.epochs",),
        "num_rollout_samples": ("batch.rollout",),
        "ratio_eps": ("ppo.clip",),
        "discount": ("ppo.gamma",),
        "gae_lambda": ("ppo.lam",),
        "normalize_advantage": ("ppo.whiten_advantages",),
    }.items():
        assert DOCUMENTED[f"model.rlhf.ppo.{key}"].ours == ours
    for key in ("temperature", "top_k", "top_p"):
        assert DOCUMENTED[f"model.sampling_params.{key}"].ours == (f"sampling.{key}",)
    assert "batch.rollout" in DOCUMENTED["model.rlhf.ppo.rollout_micro_batch_size"].note
    assert taken("nemo-rlhf").config == taken_short()


def taken_short() -> PpoConfig:
    """The same file as its documentation writes the names, without `model.`."""
    document = yaml.safe_load((FOREIGN / "nemo-rlhf.yaml").read_text())["model"]
    short = {"rlhf": document.pop("rlhf"), "model": document}
    framework, given = parts.load("config/importers", "nemo").settings([short])
    return imported(framework, given, origin="short").config


@pytest.mark.parametrize(
    ("framework", "text", "message"),
    [
        ("trl", "learning_rate: 1e-5\n", "either of TRL's two"),
        ("trl", "- a\n- b\n", "holds no settings"),
        ("trl", "a: !!python/object:os.system x\n", "is not YAML of plain values"),
        ("trl", "a: [1\n", "is not YAML"),
        ("trlx", "train: {seed: 1}\n", "no section `method`"),
        ("trlx", "method: {name: ILQLConfig}\n", "only PPOConfig"),
        ("nemo", "model: {seed: 1}\n", "no PPO actor"),
        ("nemo", "model: {loss_clip_val: 0.2}\n", "give the actor's with it"),
        ("trl", "{ppo_epochs: 4, gamma: 2}\n", "ppo.gamma"),
        ("trl", "{ppo_epochs: 4, batch_size: 10, mini_batch_size: 4}\n", "does not divide"),
    ],
)
def test_a_file_that_is_something_else_gets_its_message(framework, text, message, tmp_path):
    file = tmp_path / "theirs.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        import_files(framework, [file])
    assert message in caught.value.what
    assert caught.value.fix


def test_json_that_is_cut_off_and_files_that_are_not_there_get_their_message(tmp_path):
    with pytest.raises(ConfigError, match="there is no file"):
        import_files("trl", [tmp_path / "absent.yaml"])
    file = tmp_path / "args.json"
    file.write_text('{"num_ppo_epochs": 4,')
    with pytest.raises(ConfigError, match="is not JSON"):
        import_files("trl", [file])
    with pytest.raises(ConfigError, match="one file, not 2"):
        import_files("trl", [FOREIGN / "trl-classic.yaml"] * 2)


def test_references_of_a_nemo_file_are_followed():
    document = {
        "a": {"b": 6, "c": "${.b}", "d": "${..e}", "f": "${int_div:${a.b}, 4}", "g": "x-${e}", "h": ["${e}"]},
        "e": 3,
        "m": "${multiply:${e}, ${a.b}}",
        "loop": "${loop}",
        "absent": "${a.z}",
        "other": "${oc.env:HOME}",
    }
    assert resolved(document) == {
        "a": {"b": 6, "c": 6, "d": 3, "f": 1, "g": "x-3", "h": [3]},
        "e": 3,
        "m": 18,
        "loop": "${loop}",
        "absent": "${a.z}",
        "other": "${oc.env:HOME}",
    }


def test_a_number_without_a_point_is_a_number():
    assert flat(yaml.safe_load("{a: 9e-7, b: 1e12, c: e5, d: [1e-1], e: 1e}")) == {
        "a": 9e-7,
        "b": 1e12,
        "c": "e5",
        "d": [0.1],
        "e": "1e",
    }


def test_what_the_user_has_to_choose_is_said():
    chosen = {key for key, origin in taken("trlx").origins.items() if origin.startswith(CHOOSE)}
    assert chosen == {"reward.source", "reward.model", "prompts.source"}
    chosen = {key for key, origin in taken("nemo").origins.items() if origin.startswith(CHOOSE)}
    assert chosen == {"policy.model"}


@pytest.mark.parametrize(("name", "kind"), FRAMEWORKS, ids=lambda value: str(getattr(value, "name", value))[:20])
def test_a_table_names_only_keys_that_we_have(name, kind):
    known = set(
        flat(
            parse(
                {"stage": "ppo", "policy": {"model": "m"}, "reward": {"source": "length"}, "prompts": {"source": "p"}},
                origin="x",
            ).model_dump(mode="json")
        )
    )
    sections = {key.rpartition(".")[0] for key in known} | set(PpoConfig.model_fields)
    for key, row in kind.rows.items():
        for ours in row.ours:
            free = ours.startswith("reward.") or ours in sections
            assert free or ours in known or ours in {name.rpartition(".")[0] for name in known}, (key, ours)
        assert row.ours or row.note, key


@pytest.mark.parametrize("name", ["trl", "trlx", "nemo"])
def test_the_readme_has_the_tables_of_the_importers(name):
    text = README.read_text()
    for kind in parts.load("config/importers", name).FRAMEWORKS:
        assert table(kind) in text, f"put the output of `appliance config keys {name}` into configs/README.md"
