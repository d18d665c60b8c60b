"""A run as one zip, made while it is sent: models are gigabytes and are never held in memory or copied on disk."""

from __future__ import annotations

import hashlib
import json
import stat
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from appliance.config import parse
from appliance.config.ppo import PpoConfig, Sampling
from appliance.errors import ApplianceError, ConfigError
from appliance.store.rundir import RunDir
from appliance.store.schema import Run

PARTS = {
    "adapter": ("Adapter (LoRA)", ("adapter",)),
    "model": ("Trained model, complete (merged)", ("model",)),
    "report": ("Report", ("report", "result.json")),
    "config": ("Settings (config)", ("config.yaml",)),
    "metrics": ("Numbers of each step (metrics)", ("metrics.jsonl", "events.jsonl", "samples.jsonl", "timings.jsonl")),
    "card": ("Model card", ("model/README.md",)),
}
"""Part -> what the page calls it, and its files and folders in the run's folder."""

SUMS = "SHA256SUMS"
CHUNK = 1 << 20
STORED = (".safetensors", ".png", ".gz", ".zip", ".parquet")
"""Kinds that do not get smaller."""


@dataclass(frozen=True)
class Part:
    """A part that a run has, and its size."""

    name: str
    title: str
    size_bytes: int


def parts(run: Run) -> list[Part]:
    """What can be downloaded of the run at this moment."""
    found = []
    for name, (title, _) in PARTS.items():
        files = list(files_of(run, [name]))
        if files:
            found.append(Part(name, title, sum(file.stat().st_size for file in files)))
    return found


def chosen_parts(text: str | None) -> list[str]:
    """The parts that an address names ("adapter,report"); all without one. Raises ApplianceError for one there is not."""
    names = [name for name in (text or "").split(",") if name] or list(PARTS)
    for name in names:
        if name not in PARTS:
            raise ApplianceError(f"{name[:40]!r} is no part of a run", f"choose from {', '.join(PARTS)}")
    return names


def files_of(run: Run, names: Sequence[str]) -> Iterator[Path]:
    """Plain files of these parts, each once, in order. Links, and what is half written (.name), are left out."""
    folder, seen = RunDir(Path(run.folder)).path, set()
    for name in names:
        for place in PARTS[name][1]:
            target = folder / place
            inside = sorted(target.rglob("*")) if target.is_dir() and not target.is_symlink() else [target]
            for file in inside:
                if file in seen or any(part.startswith(".") for part in file.relative_to(folder).parts):
                    continue
                if _is_plain(file):
                    seen.add(file)
                    yield file


def stream(run: Run, names: Sequence[str]) -> Iterator[bytes]:
    """The zip in pieces: the files below a folder of the run's name, and SHA256SUMS, which `sha256sum -c` checks.

    Raises ApplianceError before the first piece when the run has none of the parts.
    """
    folder, files = Path(run.folder), list(files_of(run, names))
    if not files:
        raise ApplianceError(f"{run.name} has no such files yet", "they are made when the training ends")
    return _pieces(run.name, folder, files)


def _pieces(name: str, folder: Path, files: Sequence[Path]) -> Iterator[bytes]:
    sink, sums = _Sink(), []
    with zipfile.ZipFile(sink, "w", allowZip64=True) as archive:  # type: ignore[arg-type]
        for file in files:
            inner = file.relative_to(folder).as_posix()
            digest = hashlib.sha256()
            with file.open("rb") as source:
                written = _entry(archive, f"{name}/{inner}", file)
                with written as target:
                    while chunk := source.read(CHUNK):
                        digest.update(chunk)
                        target.write(chunk)
                        yield sink.take()
            sums.append(f"{digest.hexdigest()}  {inner}\n")
        archive.writestr(f"{name}/{SUMS}", "".join(sums))
    yield sink.take()


def _entry(archive: zipfile.ZipFile, name: str, file: Path) -> IO[bytes]:
    when = time.gmtime(max(file.stat().st_mtime, 315532800.0))  # zip knows no time before 1980
    info = zipfile.ZipInfo(name, when[:6])
    info.compress_type = zipfile.ZIP_STORED if file.suffix in STORED else zipfile.ZIP_DEFLATED
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return archive.open(info, "w", force_zip64=True)


class _Sink:
    """Where zipfile writes: it cannot seek, and what it holds is taken out after every chunk."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: Any) -> int:
        self._held.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits elsewhere."""

    def take(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        return data


def _is_plain(file: Path) -> bool:
    try:
        return stat.S_ISREG(file.lstat().st_mode)
    except OSError:
        return False


SNIPPETS = {
    "causal": """import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "{name}/model"  # where you unpacked the zip
device = "cuda" if torch.cuda.is_available() else "cpu"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder).to(device)

prompt = {prompt}
inputs = tokenizer(prompt, return_tensors="pt").to(device)
answer = model.generate(**inputs, max_new_tokens={tokens}, do_sample=True, temperature={temperature}, top_k=0)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
""",
    "seq2seq": """import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder = "{name}/model"  # where you unpacked the zip
device = "cuda" if torch.cuda.is_available() else "cpu"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSeq2SeqLM.from_pretrained(folder).to(device)

prompt = {prompt}
inputs = tokenizer(prompt, return_tensors="pt").to(device)
answer = model.generate(**inputs, max_new_tokens={tokens}, do_sample=True, temperature={temperature}, top_k=0)
print(tokenizer.decode(answer[0], skip_special_tokens=True))
""",
    "scorer": """import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "{name}/model"  # where you unpacked the zip
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)

inputs = tokenizer({prompt} + " and its answer", return_tensors="pt")
with torch.no_grad():
    print(model(**inputs).logits.item())  # higher is better
""",
}
"""How a model is used, by its kind. top_k=0: the library would leave out answers that training allowed."""


def snippet(run: Run) -> str | None:
    """Python that loads the run's model and answers one prompt with it, as in training; None where there is no model."""
    try:
        model = json.loads((Path(run.folder) / "model" / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    try:
        config = parse(yaml.safe_load(run.config), origin=run.name)
    except (ConfigError, yaml.YAMLError):
        config = None
    drawn = config.sampling if isinstance(config, PpoConfig) else Sampling()
    template = config.prompts.template if isinstance(config, PpoConfig) else None
    kind = "scorer" if run.stage == "reward" else "seq2seq" if model.get("is_encoder_decoder") else "causal"
    return SNIPPETS[kind].format(
        name=run.name,
        prompt=json.dumps(template or "Your prompt", ensure_ascii=False),
        tokens=drawn.response_tokens.high,
        temperature=drawn.temperature,
    )
