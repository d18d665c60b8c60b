"""The prompts of a PPO run: read, cut, checked against the model's context, and split into three that share no text."""

from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from appliance.config import PpoConfig
from appliance.data.prompts import read_prompt_file, read_prompts
from appliance.data.split import held_out, prompt_key
from appliance.errors import DataError
from appliance.models.tokens import TokenizedPrompts, check_context, tokenize_prompts
from appliance.ppo.types import Prompts


@dataclass(frozen=True)
class PromptSets:
    """Prompts to train on, to score during training, and for the report; and what was noticed on the way."""

    train: Prompts
    held_out: Prompts
    report: Prompts
    notes: list[str]


def prompt_sets(config: PpoConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PromptSets:
    """The prompts of the config. The same prompt text is never both trained on and held out.

    Raises DataError when a file cannot be used, a prompt does not fit the model, or there are too few.
    """
    options, wanted = config.prompts, config.evaluation
    read = read_prompts(options)
    apart = model.config.is_encoder_decoder
    found = tokenize_prompts(
        tokenizer, read.texts, length=options.length_tokens, seed=config.seed, keep=options.keep_tokens, apart=apart
    )
    notes = [*read.notes, *found.notes]
    _check(found, config, model, origin=options.source)
    rows = list(range(len(found)))
    given: dict[str, Prompts] = {}  # by the file that the config names for them
    for file in dict.fromkeys(file for file in (wanted.report_file, wanted.prompts_file) if file):
        given[file] = report_prompts(config, file, model, tokenizer)
        asked = set(given[file].texts)
        before = len(rows)
        rows = [row for row in rows if found.texts[row] not in asked]
        if not rows:
            raise DataError(f"every prompt of {options.source} is in {file} too", "give other prompts")
        if len(rows) < before:
            notes.append(f"{before - len(rows)} prompts of {file} were taken out of the other prompts")
    report, scored = given.get(wanted.report_file or ""), given.get(wanted.prompts_file or "")
    needed = (0 if scored is not None else wanted.prompts) + (0 if report is not None else wanted.report_prompts)
    keys = [prompt_key(found.texts[row]) for row in rows]
    if len(set(keys)) <= needed:
        raise DataError(
            f"{options.source}: {len(set(keys))} distinct prompts, but {needed} are held out (evaluation.prompts "
            f"{wanted.prompts}, evaluation.report_prompts {wanted.report_prompts}) and at least one must be left",
            "give more prompts, or lower evaluation.prompts and evaluation.report_prompts",
        )
    aside = held_out(keys, count=needed, seed=config.seed)
    train = [row for row, apart in zip(rows, aside, strict=True) if not apart]
    once = {key: row for key, row, apart in reversed(list(zip(keys, rows, aside, strict=True))) if apart}
    kept = sorted(once.values())
    if report is None:
        report, kept = found.pick(kept[: wanted.report_prompts]), kept[wanted.report_prompts :]
    return PromptSets(found.pick(train), found.pick(kept) if scored is None else scored, report, notes)


def report_prompts(config: PpoConfig, file: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Prompts:
    """All prompts of a file that is scored or reported on, uncut, each once. Raises DataError as `prompt_sets` does."""
    read = read_prompt_file(file)
    apart = model.config.is_encoder_decoder
    found = tokenize_prompts(tokenizer, read.texts, length=None, seed=config.seed, apart=apart)
    _check(found, config, model, origin=file)
    return found.pick(list(range(len(found))))


def _check(found: TokenizedPrompts, config: PpoConfig, model: PreTrainedModel, *, origin: str) -> None:
    if not len(found):
        raise DataError(
            f"{origin}: no prompt is left ({'; '.join(found.notes) or 'it was empty'})",
            "give longer prompts, or lower prompts.min_characters and prompts.length_tokens, or widen prompts.keep_tokens",
        )
    check_context(found, config.sampling.response_tokens.high, model, origin=origin)
