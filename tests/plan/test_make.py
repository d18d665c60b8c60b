"""The plan of a config: what fits, what to set, and the command that prints it."""

import json
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

from appliance.cli.plan import plan as command
from appliance.config.load import parse
from appliance.plan.make import fits_line, plan
from appliance.plan.parts import PARTS, Phase, Plan, room_gib

GIB = 2**30


def recipe(**sections):
    values = {
        "stage": "ppo",
        "policy": {"model": "gpt2"},
        "reward": {"source": "classifier", "model": "lvwerra/distilbert-imdb", "label": 1},
        "prompts": {"source": "prompts.txt", "length_tokens": [2, 8]},
        "sampling": {"response_tokens": [4, 16]},
        "batch": {"rollout": 64, "minibatch": 64, "microbatch": 32},
    }
    return parse(values | {key: {**values.get(key, {}), **one} for key, one in sections.items()}, origin="test")


def seven_b(**policy):
    return recipe(
        policy={"model": "meta-llama/Llama-2-7b-hf", "train": "lora"} | policy,
        prompts={"length_tokens": None, "keep_tokens": [1, 512]},
        sampling={"response_tokens": [1, 256]},
        evaluation={"report_prompts": 15, "report_samples": 8},
    )


def phase(made, name):
    return next(one for one in made.phases if one.name == name)


def test_weights_and_optimizer_by_hand():
    # gpt2: 124,439,808 weights and a value head of 769. In fp32 without a GPU: policy, frozen copy, DistilBERT (66,362,880)
    made = plan(recipe(), cuda=False)
    load, update = phase(made, "load").bytes, phase(made, "update").bytes
    assert load["weights"] == 4 * (2 * 124_439_808 + 66_362_880)
    assert update["optimizer"] == 8 * (124_439_808 + 769)
    assert [one.name for one in made.phases] == ["load", "generate", "evaluate", "score", "update", "report"]
    assert set(phase(made, "update").gib) == set(PARTS)


def test_the_cache_of_keys_and_values_by_hand():
    # 64 rows, 8 + 16 columns, 12 layers, keys and values of 768 numbers of 4 bytes, all there when the last token is drawn
    made = plan(recipe(), cuda=False)
    assert phase(made, "generate").bytes["cache"] == 64 * 24 * 12 * 2 * 768 * 4


def test_lora_has_no_second_model_and_hardly_an_optimizer():
    made = plan(recipe(policy={"train": "lora"}), cuda=False)
    adapters = 12 * 8 * (768 + 3 * 768)  # rank 8 on c_attn of 12 blocks
    assert phase(made, "load").bytes["weights"] == 4 * (124_439_808 + adapters + 66_362_880)
    assert made.trainable == adapters + 769


def test_a_7b_policy_in_4_bits_with_lora_fits_40_gib():
    made = plan(seven_b(quantize="4bit"), device_gib=40.0, cuda=True)
    assert made.largest_microbatch is not None
    chosen = plan(
        seven_b(quantize="4bit").model_copy(
            update={"batch": seven_b().batch.model_copy(update={"microbatch": made.largest_microbatch})}
        ),
        device_gib=40.0,
        cuda=True,
    )
    assert chosen.fits, fits_line(chosen)
    # nf4: 6,476,005,376 weights of linear layers at about half a byte, 262,410,240 others at two
    assert phase(chosen, "load").gib["weights"] == pytest.approx(3.11 + 0.49 + 0.02 + 0.25, rel=0.02)


def test_a_7b_policy_in_full_does_not_fit_and_says_so():
    made = plan(seven_b(train="full"), device_gib=40.0, cuda=True)
    assert made.fits is False
    assert made.largest_microbatch is None
    assert fits_line(made).startswith("does not fit: ")


def test_opt_1_3b_with_lora_is_near_the_published_20_gb():
    lora = {"targets": ["q_proj", "k_proj", "v_proj", "out_proj"], "last_layers": 2}
    made = plan(recipe(policy={"model": "facebook/opt-1.3b", "train": "lora", "lora": lora}), cuda=True)
    assert made.trainable - 2049 == 262_144  # as the published run prints it; 2,049 are the value head's
    # Training holds the base in bf16; the report compares two fp32 models, and is the most.
    assert made.peak.name == "report"
    assert 14 < made.peak_gib < 20


def test_the_micro_batch_that_is_advised_is_the_largest_that_fits():
    made = plan(recipe(), device_gib=6.0, cuda=True)
    assert made.largest_microbatch is not None
    sizes = [phase(plan(recipe(batch={"microbatch": size}), cuda=True), "update").total_gib for size in (1, 8, 64)]
    assert sizes == sorted(sizes)
    size = made.largest_microbatch
    assert phase(plan(recipe(batch={"microbatch": size}), cuda=True), "update").total_gib <= room_gib(6.0)
    if size < 64:
        assert phase(plan(recipe(batch={"microbatch": 2 * size}), cuda=True), "update").total_gib > room_gib(6.0)


def test_rewards_elsewhere_take_nothing_and_those_of_a_blend_all_count():
    far = {"source": "length"}
    blend = {"source": "length", "parts": [{"source": "classifier", "model": "lvwerra/distilbert-imdb"}] * 2}
    config = recipe().model_copy(update={"reward": far})
    both = recipe().model_copy(update={"reward": blend})
    apart = (
        phase(plan(both, cuda=False), "load").bytes["weights"]
        - phase(plan(config, cuda=False), "load").bytes["weights"]
    )
    assert apart == 2 * 4 * 66_362_880


def test_an_unknown_model_is_unknown_and_not_zero():
    made = plan(recipe(policy={"model": "someone/unheard-of"}), device_gib=80.0)
    assert (made.phases, made.fits, made.peak_gib) == ((), None, None)
    assert "stage the model" in made.unknown[0]
    assert fits_line(made).startswith("memory unknown: someone/unheard-of")


UPDATE, REPORT = (Phase("update", {"weights": 31.2 * GIB}),), (Phase("report", {"weights": 31.2 * GIB}),)


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (Plan("GPU", 80.0, UPDATE, 8, 8), "fits: 31 of 80 GiB"),
        (Plan("GPU", 24.0, UPDATE, 8, 4), "does not fit: 31 of 24 GiB; batch.microbatch 4 would"),
        (Plan("GPU", 24.0, REPORT, 8, 8), "does not fit: 31 of 24 GiB in report"),
        (Plan("RAM", None, (Phase("update", {"weights": 3.14 * GIB}),), 8), "takes 3.1 GiB of RAM (update)"),
    ],
)
def test_the_line_says_what_a_page_needs(made, line):
    assert fits_line(made) == line


def test_sft_and_reward_training_have_plans():
    sft = {"stage": "sft", "policy": {"model": "gpt2"}, "data": {"source": "texts.txt"}}
    reward = {"stage": "reward", "model": {"model": "lvwerra/distilbert-imdb"}, "data": {"source": "pairs.jsonl"}}
    for values, weights in ((sft, 124_439_808), (reward, 66_362_880)):
        made = plan(parse(values, origin="test"), device_gib=40.0, cuda=True)
        assert made.key == "training.microbatch"
        assert phase(made, "load").bytes["weights"] == 4 * weights
        assert made.fits


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe().model_dump(mode="json")))
    return str(file)


def test_the_command_prints_a_table_that_is_100_columns_wide(recipe_file):
    result = CliRunner().invoke(command, ["--config", recipe_file, "--gpu-gib", "40"])
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 100
    assert "fits: " in result.output
    assert "trainable: 124,440,577 of 124,440,577 (100.00 %)" in result.output


def test_the_command_says_what_to_set_and_exits_with_1(recipe_file):
    sizes = ["--set", "batch.rollout=512", "--set", "batch.minibatch=512", "--set", "batch.microbatch=512"]
    result = CliRunner().invoke(command, ["--config", recipe_file, "--gpu-gib", "6", *sizes])
    assert result.exit_code == 1
    assert "use: --set batch.microbatch=" in result.output


def test_the_command_writes_json(recipe_file):
    result = CliRunner().invoke(command, ["--config", recipe_file, "--gpu-gib", "40", "--json"])
    found = json.loads(result.output)
    assert found["fits"] is True
    assert {one["name"] for one in found["phases"]} >= {"generate", "update"}
    assert found["peak_gib"] == max(one["total_gib"] for one in found["phases"])


def test_no_torch_is_imported_for_a_plan():
    code = "import sys; from appliance.plan.make import plan; import appliance.cli.plan; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
