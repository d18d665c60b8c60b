"""Which files of a repository are staged, and why a repository cannot be."""

import fnmatch

from appliance.errors import ModelError
from appliance.staging.names import DATA_ENDINGS, PAPERS, PICKLE_ENDINGS, Asked, Kind, allowed

OTHER_WEIGHTS = ("consolidated*.safetensors", "*.fp16.safetensors", "openvino*", "training_args*")
"""Second copies of a model's weights in other forms, which transformers does not load."""

TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")


def selected(asked: Asked, kind: Kind, paths: list[str]) -> list[str]:
    """The files that are staged, sorted. Raises ModelError for a repository without any that can be used."""
    taken = sorted(path for path in paths if allowed(kind, path))
    return _of_model(asked, paths, taken) if kind == "model" else _of_dataset(asked, paths, taken)


def _of_model(asked: Asked, paths: list[str], taken: list[str]) -> list[str]:
    weights = [path for path in taken if path.endswith(".safetensors")]
    loaded = [path for path in weights if not any(fnmatch.fnmatch(path, other) for other in OTHER_WEIGHTS)]
    if not loaded:
        pickles = [path for path in paths if path.lower().endswith(PICKLE_ENDINGS)]
        if pickles:
            raise ModelError(
                f"{asked} has its weights only as pickle ({', '.join(pickles[:4])}), which can run code when it is loaded",
                f"stage a revision with safetensors (on the hub often {asked.repo}@refs/pr/1), "
                "or convert it where you trust it and copy the folder",
            )
        raise ModelError(f"{asked} has no weights (no .safetensors at its top)", _wrong_kind(paths))
    if not {"config.json", "adapter_config.json"} & set(taken):
        raise ModelError(f"{asked} has no config.json, so it is no model in Hugging Face format", "check the name")
    return [path for path in taken if path in loaded or path not in weights]


def _of_dataset(asked: Asked, paths: list[str], taken: list[str]) -> list[str]:
    rows = [path for path in taken if path.lower().endswith(DATA_ENDINGS) and not PAPERS.fullmatch(path.split("/")[-1])]
    if rows and not all(path.endswith("dataset_infos.json") for path in rows):
        return taken
    if any(path.endswith(".py") for path in paths):
        raise ModelError(
            f"{asked} makes its rows with a script of its own, and code from the hub is never run",
            f"stage its rows as the hub converted them: {asked.repo}@refs/convert/parquet",
        )
    raise ModelError(f"{asked} has no files of rows ({', '.join(DATA_ENDINGS)})", _wrong_kind(paths))


def _wrong_kind(paths: list[str]) -> str:
    if any(path.lower().endswith(".parquet") for path in paths):
        return "it looks like a data set: give --dataset"
    if any(path.lower().endswith(".safetensors") for path in paths):
        return "it looks like a model: leave --dataset out, or give the folder that holds its config.json"
    return "check the name; data sets need --dataset"


def require_known_code(asked: Asked, config: dict[str, object]) -> None:
    """Raises ModelError where a config names code of its repository for an architecture that transformers lacks."""
    if "auto_map" not in config:
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING_NAMES:
        raise ModelError(
            f"{asked} can only be loaded with code of its own (its architecture is {kind!r}), and code from the hub is never run",
            "choose a model whose architecture transformers has, or a revision that was converted to one",
        )


def missing_parts(paths: list[str]) -> list[str]:
    """What a model's files lack that a training asks for, as notes for people."""
    notes = []
    if "adapter_config.json" not in paths and not any(name in paths for name in TOKENIZERS):
        notes.append(f"it has no tokenizer (none of {', '.join(TOKENIZERS)})")
    return notes
