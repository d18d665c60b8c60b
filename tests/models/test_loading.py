"""Model folders: what loads, and an explanation for everything that does not."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from appliance.errors import ModelError
from appliance.models import loading
from appliance.models.loading import (
    load_classifier,
    load_new_reward_model,
    load_policy_model,
    load_tokenizer,
    original_activation,
    resolve,
)
from appliance.stages.export import save_model


@pytest.fixture
def copy_of(tmp_path: Path, folder_of: Callable[[str], Path]) -> Callable[..., Path]:
    """copy_of("gpt2"): a copy of the tiny model's folder that a test may damage."""

    def make(name: str = "gpt2", place: str = "copy") -> Path:
        return Path(shutil.copytree(folder_of(name), tmp_path / place))

    return make


def refused(folder: Path, load: Callable[..., object] = load_policy_model) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(str(folder), None)
    assert caught.value.fix
    return caught.value


def edit(file: Path, **changes: object) -> None:
    values = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(values | changes), encoding="utf-8")


def test_every_architecture_loads_in_fp32_with_the_words_of_its_folder(model_folder):
    loaded = load_policy_model(str(model_folder), None)
    assert loaded.folder == model_folder
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert len(loaded.tokenizer) == loaded.model.get_input_embeddings().num_embeddings == 97
    # the words are w0, w1, ... in the order of their text, after <eos> and <unk>: w0 2, w1 3, w10 4
    assert loaded.tokenizer("w0 w1 w10 nothing")["input_ids"] == [2, 3, 4, 1]
    assert loaded.tokenizer.decode([2, 4]) == "w0 w10"
    assert loaded.tokenizer.eos_token_id == 0


def test_the_weights_are_those_of_the_folder(model_folder):
    renamed = {"embed_out.weight": "lm_head.weight"}  # GPT-NeoX's head in files
    saved = {renamed.get(k, k): v for k, v in load_file(model_folder / "model.safetensors").items()}
    state = load_policy_model(str(model_folder), None).model.state_dict()
    assert saved
    assert all(torch.equal(state[name], tensor) for name, tensor in saved.items())
    assert set(state) - set(saved) <= {"lm_head.weight"}  # tied to the embeddings


def test_dtype_is_followed(folder_of):
    loaded = load_policy_model(str(folder_of("llama")), None, dtype=torch.bfloat16)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}


# --- what is missing or damaged


def test_a_path_that_does_not_exist_is_named(tmp_path):
    for path in (str(tmp_path / "absent"), "./absent", "~/absent", "a/b/c"):
        with pytest.raises(ModelError) as caught:
            resolve(path)
        assert caught.value.what == f"there is no model folder {path}"
        assert caught.value.fix == "check the path; a hub id looks like owner/name"


def test_a_folder_without_a_config_is_no_model(copy_of):
    folder = copy_of()
    (folder / "config.json").unlink()
    for load in (load_policy_model, load_classifier):
        assert refused(folder, load).what == f"{folder} is not a model folder: it has no config.json"


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "no such thing"}', "{}"])
def test_a_config_that_says_nothing_known_is_refused(copy_of, text):
    folder = copy_of()
    (folder / "config.json").write_text(text)
    assert refused(folder).what.startswith(f"{folder}/config.json cannot be used: ")


def test_code_that_comes_with_a_model_is_not_run(copy_of, tmp_path):
    folder = copy_of()
    edit(folder / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config"})
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert "cannot be used" in refused(folder).what
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_weights_is_refused(copy_of):
    folder = copy_of()
    (folder / "model.safetensors").unlink()
    assert refused(folder).what == f"{folder} holds no weights (no *.safetensors)"


def test_weights_that_are_only_pickle_are_refused_by_name(copy_of):
    folder = copy_of()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = refused(folder)
    assert error.what.startswith(f"{folder} has its weights only as pickle (pytorch_model.bin)")
    assert "model.safetensors" in error.fix


def test_pickle_is_not_read_beside_other_safetensors(copy_of):
    folder = copy_of()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert refused(folder).what.startswith(f"{folder}: the weights cannot be loaded: ")


def test_a_folder_without_a_tokenizer_is_refused(copy_of):
    folder = copy_of()
    (folder / "tokenizer.json").unlink()
    assert refused(folder).what.startswith(f"{folder} holds no tokenizer (none of tokenizer.json, vocab.json, ")


@pytest.mark.parametrize("text", ["{", "{}", '{"model": 3}'])
def test_a_damaged_tokenizer_is_refused(copy_of, text):
    folder = copy_of()
    (folder / "tokenizer.json").write_text(text)
    assert refused(folder).what.startswith(f"{folder}: the tokenizer cannot be read: ")
    folder = copy_of("qwen2", "second")
    (folder / "tokenizer_config.json").write_text("[")
    assert refused(folder).what.startswith(f"{folder}: the tokenizer cannot be read: ")


def test_truncated_weights_are_refused(copy_of):
    folder = copy_of()
    whole = (folder / "model.safetensors").read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        (folder / "model.safetensors").write_bytes(whole[:size])
        for load in (load_policy_model, load_classifier):
            error = refused(folder, load)
            assert error.what.startswith(f"{folder}: the weights cannot be loaded: ")
            assert error.fix == "check that the copy is complete"


def test_weights_that_are_missing_are_named_and_never_random(copy_of):
    folder = copy_of("llama")
    tensors = load_file(folder / "model.safetensors")
    for name in ("model.norm.weight", "model.layers.1.mlp.up_proj.weight"):
        del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    error = refused(folder)
    assert error.what == (
        f"{folder}: 2 weights are not in its files and would be random: "
        "model.layers.1.mlp.up_proj.weight, model.norm.weight"
    )
    assert error.fix == "give a model that was saved as LlamaForCausalLM"


def test_weights_of_another_size_are_refused(copy_of):
    folder = copy_of("llama")
    edit(folder / "config.json", intermediate_size=56)
    assert refused(folder).what.startswith(f"{folder}: the weights cannot be loaded: ")


def test_an_index_whose_shards_are_missing_is_refused(copy_of):
    folder = copy_of("llama")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weights = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(tensors)}
    index = {"metadata": {"total_size": 1}, "weight_map": weights}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert refused(folder).what.startswith(f"{folder}: the weights cannot be loaded: ")


def test_a_tokenizer_larger_than_its_model_is_refused(copy_of):
    folder = copy_of()
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["one more"])
    tokenizer.save_pretrained(folder)
    assert refused(folder).what == f"{folder}: the tokenizer has 98 tokens, the model 97"


def test_an_encoder_decoder_loads_whole(encoder_decoder):
    loaded = load_policy_model(str(encoder_decoder), None)
    assert loaded.model.config.is_encoder_decoder
    saved, state = load_file(encoder_decoder / "model.safetensors"), loaded.model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in saved.items())
    assert loaded.model.get_output_embeddings().weight is loaded.model.get_input_embeddings().weight


# --- the hub


def test_offline_the_hub_is_never_asked(monkeypatch, tmp_path):
    def ask(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setenv("APPLIANCE_OFFLINE", "1")
    monkeypatch.setattr(socket, "getaddrinfo", ask)
    monkeypatch.setattr(socket.socket, "connect", ask)
    with pytest.raises(ModelError) as caught:
        resolve("no-such-owner/no-such-model-0000")
    assert caught.value.what == (
        "no-such-owner/no-such-model-0000 is neither a local folder nor staged on this machine, "
        "and APPLIANCE_OFFLINE is 1"
    )


def test_a_hub_that_does_not_answer_is_named(monkeypatch):
    errors = iter([LocalEntryNotFoundError("no answer"), OSError("no route")])

    def ask(*_: object, **more: object) -> None:
        assert more["local_files_only"] is False
        raise next(errors)

    monkeypatch.setenv("APPLIANCE_OFFLINE", "0")
    monkeypatch.setattr(loading, "snapshot_download", ask)
    with pytest.raises(ModelError, match=r"owner/name is neither a local folder nor staged .*, and the hub does not"):
        resolve("owner/name")
    with pytest.raises(ModelError, match="the hub cannot be reached for owner/name: no route"):
        resolve("owner/name")


@pytest.mark.parametrize("name", ["no spaces allowed", "x--y", "-x"])
def test_what_cannot_be_a_hub_id_is_refused(monkeypatch, name):
    monkeypatch.setenv("APPLIANCE_OFFLINE", "1")
    with pytest.raises(ModelError, match="neither a local folder nor"):
        resolve(name)


# --- adapters


@pytest.fixture
def adapter(tmp_path: Path, copy_of: Callable[..., Path]) -> tuple[Path, Path]:
    """(adapter folder, base folder): LoRA of rank 2 on the tiny Llama, B far from zero."""
    base = copy_of("llama", "base")
    loaded = load_policy_model(str(base), None)
    options = LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules=["v_proj", "up_proj"])
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        adapted = get_peft_model(loaded.model, options)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.3)
    adapted.save_pretrained(tmp_path / "adapter")
    edit(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path=str(base))
    return tmp_path / "adapter", base


def test_an_adapter_folder_is_merged_into_its_base(adapter):
    folder, base = adapter
    loaded, plain = load_policy_model(str(folder), None), load_policy_model(str(base), None)
    assert type(loaded.model) is type(plain.model)
    assert not [name for name, _ in loaded.model.named_parameters() if "lora" in name]
    tensors = load_file(folder / "adapter_model.safetensors")
    key = "base_model.model.model.layers.0.self_attn.v_proj"
    delta = tensors[f"{key}.lora_B.weight"] @ tensors[f"{key}.lora_A.weight"] * (4 / 2)  # alpha / rank
    before = plain.model.model.layers[0].self_attn
    after = loaded.model.model.layers[0].self_attn
    torch.testing.assert_close(after.v_proj.weight, before.v_proj.weight + delta, atol=1e-6, rtol=0)
    assert torch.equal(after.q_proj.weight, before.q_proj.weight)


def test_an_adapter_without_a_base_is_refused(adapter):
    folder, _ = adapter
    edit(folder / "adapter_config.json", base_model_name_or_path=None)
    assert refused(folder).what == f"{folder}: adapter_config.json names no base model"


def test_an_adapter_whose_base_is_gone_is_refused(adapter):
    folder, base = adapter
    shutil.rmtree(base)
    assert refused(folder).what == f"there is no model folder {base}"


def test_adapters_that_name_each_other_as_their_base_are_refused(adapter, tmp_path):
    first, _ = adapter
    second = Path(shutil.copytree(first, tmp_path / "second"))
    third = Path(shutil.copytree(first, tmp_path / "third"))
    for folder, base in ((first, second), (second, third), (third, first)):
        edit(folder / "adapter_config.json", base_model_name_or_path=str(base))
    error = refused(first)
    assert error.what == f"the adapters name each other as their base: {first} -> {second} -> {third} -> {first}"
    assert "base_model_name_or_path" in error.fix


def test_an_adapter_on_an_adapter_is_merged_twice(adapter, tmp_path):
    first, base = adapter
    second = Path(shutil.copytree(first, tmp_path / "second"))
    edit(second / "adapter_config.json", base_model_name_or_path=str(first))
    weights = [
        load_policy_model(str(folder), None).model.model.layers[0].self_attn.v_proj.weight
        for folder in (base, first, second)
    ]
    torch.testing.assert_close(weights[2] - weights[0], 2 * (weights[1] - weights[0]), atol=1e-5, rtol=0)


def test_an_adapter_that_is_only_pickle_is_refused(adapter):
    folder, _ = adapter
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "only as pickle (adapter_model.bin)" in refused(folder).what


def test_an_adapter_is_never_read_from_pickle_beside_other_weights(adapter):
    folder, _ = adapter
    (folder / "adapter_model.safetensors").rename(folder / "other.safetensors")
    torch.save({}, folder / "adapter_model.bin")
    assert "only as pickle (adapter_model.bin)" in refused(folder).what


def test_an_adapter_of_another_base_is_refused(adapter, folder_of):
    folder, _ = adapter
    edit(folder / "adapter_config.json", base_model_name_or_path=str(folder_of("gpt2")))
    assert refused(folder).what.startswith(f"{folder}: the adapter does not fit")


@pytest.mark.parametrize("damage", ["truncated", "shape", "config", "missing"])
def test_a_damaged_adapter_is_refused(adapter, damage):
    folder, _ = adapter
    file = folder / "adapter_model.safetensors"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage == "missing":
        tensors = load_file(file)
        del tensors[min(tensors)]
        save_file(tensors, file)
    elif damage == "shape":
        edit(folder / "adapter_config.json", r=3)
    else:
        (folder / "adapter_config.json").write_text("{")
    refused(folder)


# --- activations


def test_an_activation_is_replaced_by_an_equal_faster_one_and_its_name_kept(folder_of):
    loaded = load_policy_model(str(folder_of("gpt2")), None)
    assert loaded.model.config.activation_function == "gelu_pytorch_tanh"
    assert original_activation(loaded.folder) == {"activation_function": "gelu_new"}
    for name in ("llama", "opt"):
        loaded = load_policy_model(str(folder_of(name)), None)
        assert original_activation(loaded.folder) == {}


def test_classifiers_and_encoder_decoders_get_the_faster_activation_too(folder_of, copy_of):
    t5 = load_policy_model(str(folder_of("t5")), None)
    assert t5.model.config.dense_act_fn == "gelu_pytorch_tanh"
    assert {type(m).__name__ for m in t5.model.modules() if "GELU" in type(m).__name__} == {"GELUTanh"}
    assert original_activation(t5.folder) == {"dense_act_fn": "gelu_new"}
    folder = copy_of("gpt2")
    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, pad_token_id=0).eval()
    plain.save_pretrained(folder)
    for loaded in (load_new_reward_model(str(folder)), load_classifier(str(folder))):
        assert loaded.model.config.activation_function == "gelu_pytorch_tanh"
        ids = torch.arange(2, 12)[None]
        with torch.no_grad():
            found, expected = loaded.model.eval()(input_ids=ids).logits, plain(input_ids=ids).logits
        assert torch.allclose(found, expected, atol=1e-5)


def test_what_is_saved_has_the_activation_of_its_source(folder_of, tmp_path):
    for name, key in (("gpt2", "activation_function"), ("t5", "dense_act_fn")):
        loaded = load_policy_model(str(folder_of(name)), None)
        save_model(loaded.model, loaded.tokenizer, tmp_path / name, source=loaded.folder)
        assert getattr(AutoConfig.from_pretrained(tmp_path / name), key) == "gelu_new"
        assert "gelu_pytorch_tanh" not in (tmp_path / name / "config.json").read_text()
        assert getattr(loaded.model.config, key) == "gelu_pytorch_tanh"  # in memory it goes on as it was


def test_a_new_reward_model_has_the_folder_s_trunk_and_one_new_score(folder_of):
    def made(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return load_new_reward_model(str(folder_of("llama"))).model

    first, second, third = made(1), made(1), made(2)
    assert first.score.out_features == first.config.num_labels == 1
    assert torch.equal(first.score.weight, second.score.weight)
    assert not torch.equal(first.score.weight, third.score.weight)
    saved = load_file(folder_of("llama") / "model.safetensors")
    assert torch.equal(first.model.norm.weight, saved["model.norm.weight"])
    assert first.config.pad_token_id == 0


def test_a_new_reward_model_with_a_trunk_of_another_size_is_refused(copy_of):
    folder = copy_of("llama")
    edit(folder / "config.json", intermediate_size=56)
    error = refused(folder, load_new_reward_model)
    assert "weights are not in its files and would be random: model.layers.0.mlp.down_proj.weight" in error.what


def test_a_classifier_gets_a_pad_token_and_evaluates(folder_of, tmp_path, copy_of):
    folder = copy_of("gpt2")
    config = AutoConfig.from_pretrained(folder, num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    loaded = load_classifier(str(folder))
    assert loaded.tokenizer.pad_token_id == loaded.model.config.pad_token_id == 0
    assert not loaded.model.training


# --- adapters without a base, and runs as models


def test_an_adapter_that_is_its_own_base_is_refused(adapter, monkeypatch):
    folder, _ = adapter
    monkeypatch.chdir(folder.parent)
    for base in (str(folder), f"./{folder.name}", f"{folder}/../{folder.name}"):
        edit(folder / "adapter_config.json", base_model_name_or_path=base)
        assert "names the adapter itself as its base" in refused(folder).what


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"'])
def test_an_adapter_config_that_is_no_mapping_is_refused(text, adapter):
    folder, _ = adapter
    (folder / "adapter_config.json").write_text(text)
    assert "adapter_config.json cannot be used" in refused(folder).what


def test_a_tokenizer_config_that_is_no_mapping_is_refused(copy_of):
    folder = copy_of()
    (folder / "tokenizer_config.json").write_text("[]")
    assert "the tokenizer cannot be read" in refused(folder).what


def test_a_run_s_folder_is_its_result(copy_of, tmp_path):
    result = copy_of(place="run/model")
    assert resolve(str(tmp_path / "run")) == result
    assert load_policy_model(str(tmp_path / "run"), None).folder == result
    shutil.copy(result / "config.json", tmp_path / "run")  # a model folder that has a folder "model" is itself
    assert resolve(str(tmp_path / "run")) == tmp_path / "run"


def test_a_run_without_a_result_is_no_model(tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    assert "run is not a model folder: it has no config.json" in refused(tmp_path / "run").what
