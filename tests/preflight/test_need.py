"""What image and recipe ask for."""

import json
import struct

import pytest

from appliance.config.load import parse
from appliance.errors import ApplianceError
from appliance.preflight import need as needs
from appliance.preflight.need import Need


def weights(folder, shapes):
    folder.mkdir()
    header = json.dumps(
        {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    )
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
    return str(folder)


def recipe(policy, reward):
    values = {
        "stage": "ppo",
        "policy": {"model": policy},
        "reward": {"source": "classifier", "model": reward},
        "prompts": {"source": "prompts.txt"},
    }
    return parse(values, origin="test")


def test_the_manifest_of_the_image_is_believed():
    text = json.dumps({"torch": "2.12.0+cu130", "cuda": "13.0", "min_driver": "580", "archs": ["sm_80"]})
    need = needs.from_manifest(text, Need())
    assert (need.cuda, need.min_driver, need.archs) == ("13.0", "580", ("sm_80",))
    assert needs.from_manifest(None, Need()) == Need()


@pytest.mark.parametrize("text", ["{", "[]", '{"torch": "2.14"}'])
def test_a_broken_manifest_is_said_to_be_one(text):
    with pytest.raises(ApplianceError, match="not the image's manifest"):
        needs.from_manifest(text, Need())


def test_memory_and_disk_of_local_models(tmp_path):
    # 2**30 parameters: policy 16 + reference 4 GiB; the reward model has 2**28: 4 bytes each = 1 GiB
    policy = weights(tmp_path / "policy", {"a": [1 << 15, 1 << 15]})
    reward = weights(tmp_path / "reward", {"a": [1 << 14, 1 << 14], "b": [0]})
    need = needs.from_config(recipe(policy, reward), Need())
    assert need.vram_gib == pytest.approx(1.2 * 21 + 2, abs=0.06)
    assert need.ram_gib == 16.0
    assert need.disk_gib == 30.0
    assert need.models == (policy, reward), "what is staged or asked for once, though it is loaded twice"


def test_what_is_not_here_is_unknown_and_not_zero(tmp_path):
    policy = weights(tmp_path / "policy", {"a": [8, 8]})
    need = needs.from_config(recipe(policy, "someone/reward"), Need())
    assert (need.vram_gib, need.ram_gib, need.disk_gib) == (None, None, None)


def test_a_damaged_weight_file_is_unknown(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 40)
    assert needs.parameters(tmp_path) is None


def test_it_survives_json():
    need = Need(ports=(1, 2), models=("a",), vram_gib=1.5)
    assert Need.from_fact(json.loads(json.dumps(need.fact()))) == need
    with pytest.raises(ApplianceError, match="need"):
        Need.from_fact({"cuda": "12.6"})
