"""Models and tokenizers from a local folder or the hub: safetensors only, no remote code, every failure explained."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from peft import PeftModel
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from appliance import settings
from appliance.errors import ModelError
from appliance.models.quantized import quantization
from appliance.staging.folders import find

WANTED_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

HEADS = ("score.", "classifier.", "pre_classifier.")
"""Where sequence classifiers have what stands on the trunk."""

SAME_MATHS = {"gelu_new": "gelu_pytorch_tanh"}
"""Activations that one kernel computes where transformers' own version takes eight passes over memory."""

ACTIVATIONS = ("activation_function", "hidden_act", "dense_act_fn")
"""Where configs name their activation; T5's `dense_act_fn` follows from another key when its config is read."""


@dataclass(frozen=True)
class Loaded:
    """A model with its tokenizer and the local folder that both came from."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path


def resolve(model: str, revision: str | None = None) -> Path:
    """The local folder of a model: itself, a run's result, what is staged, or the hub's snapshot. Raises ModelError."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        is_run = not (folder / "config.json").exists() and (folder / "model" / "config.json").exists()
        return folder / "model" if is_run else folder
    if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise ModelError(f"there is no model folder {model}", "check the path; a hub id looks like owner/name")
    if (staged := find(model, revision)) is not None:
        return staged
    offline = settings.read().offline
    try:
        found = snapshot_download(model, revision=revision, allow_patterns=WANTED_FILES, local_files_only=offline)
    except LocalEntryNotFoundError:
        why = "APPLIANCE_OFFLINE is 1" if offline else "the hub does not answer"
        raise ModelError(f"{model} is neither a local folder nor staged on this machine, and {why}", _STAGE) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(
            f"{model} is neither a local folder nor a public model of the hub", "check the spelling"
        ) from None
    except HfHubHTTPError as error:
        raise ModelError(f"the hub refused {model}: {error}", _STAGE) from None
    except OSError as error:
        raise ModelError(f"the hub cannot be reached for {model}: {error}", _STAGE) from None
    return Path(found)


_STAGE = (
    "stage it (`appliance models stage` on a connected machine, `appliance models import` here), "
    "give the path of its folder, or connect this machine to the hub"
)


def load_policy_model(
    model: str, revision: str | None, *, dtype: torch.dtype = torch.float32, quantize: str = "none"
) -> Loaded:
    """A language model, causal or encoder-decoder; an adapter folder is merged into its base first. Raises ModelError.

    With `quantize` (8bit, 4bit) the weights are already on the GPU, and cannot be merged into.
    """
    folder = resolve(model, revision)
    if not (folder / "adapter_config.json").exists():
        return _load_plain(folder, dtype, quantize)
    if quantize != "none":
        raise ModelError(
            f"{folder} is an adapter, which cannot be merged into weights of {quantize}",
            "give its base as policy.model, and the adapter as policy.adapter",
        )
    return _load_merged(folder, dtype, ())


def _load_plain(folder: Path, dtype: torch.dtype, quantize: str = "none") -> Loaded:
    config = _in_one_kernel(_read_config(folder))
    require_weights(folder)
    tokenizer = load_tokenizer(folder)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    lm = _from_pretrained(auto, folder, config, dtype, quantization(quantize) if quantize != "none" else None)
    if len(tokenizer) > lm.get_input_embeddings().num_embeddings:
        raise ModelError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens, the model {lm.get_input_embeddings().num_embeddings}",
            "give a folder whose tokenizer belongs to its model",
        )
    return Loaded(lm, tokenizer, folder)


def load_classifier(model: str, revision: str | None = None) -> Loaded:
    """A sequence classifier with its own tokenizer, in evaluation mode, fp32. Raises ModelError."""
    folder = resolve(model, revision)
    config = _in_one_kernel(_read_config(folder))
    require_weights(folder)
    tokenizer = load_tokenizer(folder)
    classifier = _from_pretrained(AutoModelForSequenceClassification, folder, config, torch.float32)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    classifier.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return Loaded(classifier.eval(), tokenizer, folder)


def load_new_reward_model(model: str, revision: str | None = None) -> Loaded:
    """A sequence classifier with one label; the head is new (torch's seed decides it) where the folder has no fitting one.

    Raises ModelError when the trunk's weights are not all there.
    """
    folder = resolve(model, revision)
    config = _in_one_kernel(_read_config(folder))
    require_weights(folder)
    tokenizer = load_tokenizer(folder)
    config.num_labels = 1
    config.problem_type = None
    classifier = _from_pretrained(AutoModelForSequenceClassification, folder, config, torch.float32, new_head=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    classifier.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return Loaded(classifier, tokenizer, folder)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder. Raises ModelError."""
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{folder} holds no tokenizer (none of {', '.join(TOKENIZER_FILES)})", "save the tokenizer there too"
        )
    try:
        kind = PreTrainedTokenizerFast if _declares_plain_tokenizer(folder) else AutoTokenizer
        return kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{folder}: the tokenizer cannot be read: {error}", "save it again with save_pretrained"
        ) from None


def _declares_plain_tokenizer(folder: Path) -> bool:
    """Whether the folder says that tokenizer.json is all there is to its tokenizer.

    AutoTokenizer does not take that at its word: for some architectures (qwen2) it builds the architecture's own class
    instead, which knows none of the words of another tokenizer and adds tokens that the model does not have.
    """
    described = folder / "tokenizer_config.json"
    if not described.exists() or not (folder / "tokenizer.json").exists():
        return False
    declared = json.loads(described.read_text(encoding="utf-8")).get("tokenizer_class")
    return declared in ("TokenizersBackend", "PreTrainedTokenizerFast")


def original_activation(folder: Path) -> dict[str, str]:
    """The activation names that loading replaced by equal ones, as the folder's config has them."""
    return _replaced(_read_config(folder))


def _replaced(config: PreTrainedConfig) -> dict[str, str]:
    return {key: name for key in ACTIVATIONS if (name := config.__dict__.get(key)) in SAME_MATHS}


def _in_one_kernel(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config with each activation of SAME_MATHS replaced by its equal."""
    for key, name in _replaced(config).items():
        setattr(config, key, SAME_MATHS[name])
    return config


def _read_config(folder: Path) -> PreTrainedConfig:
    if not (folder / "config.json").exists():
        raise ModelError(
            f"{folder} is not a model folder: it has no config.json", "give a folder that save_pretrained wrote"
        )
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder}/config.json cannot be used: {error}", "give a model that transformers 5 knows"
        ) from None


def require_weights(folder: Path, wanted: str = "*.safetensors") -> None:
    """Raises ModelError where a folder has no weights but as pickle, or none at all."""
    if any(folder.glob(wanted)):
        return
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise ModelError(
            f"{folder} has its weights only as pickle ({', '.join(pickles)}), which can run code when it is loaded",
            "take a revision with model.safetensors (on the hub often refs/pr/1), or convert it where you trust it",
        )
    raise ModelError(f"{folder} holds no weights (no {wanted})", "copy the whole folder, its .safetensors included")


def _from_pretrained(
    auto: type,
    folder: Path,
    config: PreTrainedConfig,
    dtype: torch.dtype,
    more: dict[str, Any] | None = None,
    *,
    new_head: bool = False,
) -> PreTrainedModel:
    try:
        model, info = auto.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=new_head,  # a head for other labels
            **(more or {}),
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: the weights cannot be loaded: {error}", "check that the copy is complete"
        ) from None
    absent = [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]
    missing = sorted(key for key in absent if not (new_head and key.startswith(HEADS)))
    if missing:
        shown = ", ".join(missing[:4]) + (", ..." if len(missing) > 4 else "")
        raise ModelError(
            f"{folder}: {len(missing)} weights are not in its files and would be random: {shown}",
            f"give a model that was saved as {type(model).__name__}",
        )
    return model


def _load_merged(folder: Path, dtype: torch.dtype, above: tuple[Path, ...]) -> Loaded:
    """The adapter in `folder` merged into its base; `above` are the adapters that stand on it."""
    try:
        adapter = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base = adapter.get("base_model_name_or_path")
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{folder}/adapter_config.json cannot be used: {error}", "save the adapter again") from None
    if not base:
        raise ModelError(f"{folder}: adapter_config.json names no base model", "set base_model_name_or_path in it")
    if Path(base).expanduser().resolve() == folder.resolve():
        raise ModelError(f"{folder}: adapter_config.json names the adapter itself as its base", "name the base model")
    require_weights(folder, "adapter_model.safetensors")
    base_folder, above = resolve(base, adapter.get("revision")), (*above, folder.resolve())
    if base_folder.resolve() in above:
        circle = " -> ".join(map(str, (*above, base_folder.resolve())))
        raise ModelError(
            f"the adapters name each other as their base: {circle}",
            "set base_model_name_or_path in one of them to the model that it was trained on",
        )
    if (base_folder / "adapter_config.json").exists():
        loaded = _load_merged(base_folder, dtype, above)
    else:
        loaded = _load_plain(base_folder, dtype)
    return Loaded(merged(loaded.model, folder), loaded.tokenizer, loaded.folder)


def merged(lm: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with the adapter in `folder` folded into its weights. Raises ModelError when it does not fit."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*missing adapter keys")
            whole: PreTrainedModel = PeftModel.from_pretrained(lm, str(folder)).merge_and_unload()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, UserWarning) as error:
        raise ModelError(
            f"{folder}: the adapter does not fit {type(lm).__name__}: {error}",
            "check that the copy is complete, and its base",
        ) from None
    return whole
