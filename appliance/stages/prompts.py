"""The prompts of a PPO run: read, cut, checked against the model's context, and split into three that share no text."""

from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from appliance.config import PpoConfig
from appliance.data.prompts import read_prompt_file, read_prompts
from appliance.data.split import held_out
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
    found = tokenize_prompts(tokenizer, read.texts, length=options.length_tokens, seed=config.seed)
    notes = [*read.notes, *found.notes]
    _check(found, config, model, origin=options.source)
    rows, report = list(range(len(found))), None
    if wanted.report_file:
        report = report_prompts(config, wanted.report_file, model, tokenizer)
        asked = set(report.texts)
        rows = [row for row in rows if found.texts[row] not in asked]
        if not rows:
            raise DataError(
                f"every prompt of {options.source} is in {wanted.report_file} too", "give other prompts for the report"
            )
        if len(rows) < len(found):
            notes.append(
                f"{len(found) - len(rows)} prompts of {wanted.report_file} were taken out of the other prompts"
            )
    needed = wanted.prompts + (0 if report is not None else wanted.report_prompts)
    texts = [found.texts[row] for row in rows]
    if len(set(texts)) <= needed:
        raise DataError(
            f"{options.source}: {len(set(texts))} distinct prompts, but {needed} are held out (evaluation.prompts "
            f"{wanted.prompts}, evaluation.report_prompts {wanted.report_prompts}) and at least one must be left",
            "give more prompts, or lower evaluation.prompts and evaluation.report_prompts",
        )
    aside = held_out(texts, count=needed, seed=config.seed)
    train = [row for row, apart in zip(rows, aside, strict=True) if not apart]
    once = {found.texts[row]: row for row, apart in reversed(list(zip(rows, aside, strict=True))) if apart}
    kept = sorted(once.values())
    if report is None:
        report, kept = found.pick(kept[: wanted.report_prompts]), kept[wanted.report_prompts :]
    return PromptSets(found.pick(train), found.pick(kept), report, notes)


def report_prompts(config: PpoConfig, file: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Prompts:
    """All prompts of a file, uncut, each once. Raises DataError as `prompt_sets` does."""
    read = read_prompt_file(file)
    found = tokenize_prompts(tokenizer, read.texts, length=None, seed=config.seed)
    _check(found, config, model, origin=file)
    return found.pick(list(range(len(found))))


def _check(found: TokenizedPrompts, config: PpoConfig, model: PreTrainedModel, *, origin: str) -> None:
    if not len(found):
        raise DataError(
            f"{origin}: no prompt is left ({'; '.join(found.notes) or 'it was empty'})",
            "give longer prompts, or lower prompts.min_characters and prompts.length_tokens",
        )
    check_context(found, config.sampling.response_tokens.high, model, origin=origin)
