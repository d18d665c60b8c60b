"""Supervised fine-tuning: texts -> token ids -> a policy that writes like them, in model/ (and adapter/ with LoRA).

Decoders go through TRL's SFTTrainer, encoder-decoders through transformers' own (see `seq2seq_training`).
"""

import math
import time
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig as TrlConfig
from trl import SFTTrainer

from appliance.config import SftConfig
from appliance.data.demonstrations import Demonstration, read_demonstrations
from appliance.data.split import held_out, prompt_key
from appliance.errors import DataError, ModelError
from appliance.models.adapters import with_adapters
from appliance.models.loading import Loaded, load_policy_model, resolve
from appliance.models.precision import choose
from appliance.models.tokens import check_length
from appliance.progress import progress
from appliance.stages import seq2seq_training as seq2seq
from appliance.stages import trl_training as trl
from appliance.stages.export import save_model
from appliance.stages.processes import leave_the_rest_to_the_first
from appliance.stages.session import session
from appliance.stages.trackers import tracking
from appliance.store.files import write_folder, write_json
from appliance.store.rundir import RunDir


def run(config: SftConfig, run: RunDir, *, resume: bool = False) -> dict[str, Any]:
    """Fine-tune in `run`; returns result.json: texts, held-out loss (nats per token) and perplexity, seconds.

    Raises StoppedByUser with a checkpoint written, and ApplianceError for what the user must mend.
    """
    with session(run) as stop:
        done = trl.finished(run) if resume else None
        if done is not None:
            return done
        began = time.perf_counter()
        precision = choose(config.device, config.compute)
        loaded = load_policy_model(config.policy.model, config.policy.revision)
        tokenizer = loaded.tokenizer
        apart = loaded.model.config.is_encoder_decoder
        if tokenizer.pad_token is None and not apart:  # TRL needs one; padding is masked wherever it stands
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.eos_token_id is None:
            raise ModelError(f"{loaded.folder}: the tokenizer has no end token", "set eos_token in its config")
        check_length(config.training.max_length_tokens, loaded)
        rows, notes = read_demonstrations(config.data)
        if apart:
            seq2seq.check(config, rows)
            train, aside = seq2seq.token_pairs(rows, config, tokenizer, loaded.model)
        else:
            train, aside = token_rows(rows, config, tokenizer)
        start = seq2seq.start_of(loaded.model) if apart else None
        model = _trained(config, loaded).to(precision.device)
        steps = trl.steps_of(config.training, _packed_rows(train, config))
        optimizer, schedule = trl.optimizers(model, config.optimizer, steps)
        options = trl.arguments(config, config.training, config.optimizer, run, precision, steps=steps)
        with progress("SFT", steps) as shown, tracking(config, run) as tracker:
            for note in notes:
                shown.say(f"  {note}")
            reporter = trl.Reporter(run, shown, stop, tracker, "mean_token_accuracy")
            trainer: Any
            if start is not None:
                trainer = seq2seq.trainer_of(
                    model, options, train, tokenizer, (optimizer, schedule), reporter, start=start
                )
            else:
                trainer = SFTTrainer(
                    model=model,
                    args=TrlConfig(
                        **options,
                        max_length=config.training.max_length_tokens,
                        packing=config.training.packing,
                        packing_strategy="wrapped",
                        eval_packing=False,
                        completion_only_loss=_has_prompts(config),
                    ),
                    train_dataset=Dataset.from_list(train),
                    eval_dataset=Dataset.from_list(aside) if aside else None,
                    processing_class=tokenizer,
                    optimizers=(optimizer, schedule),
                    callbacks=[reporter],
                )
            trl.fit(trainer, run, reporter, precision, resume=resume)
        loss = None
        if aside and start is not None:
            loss = seq2seq.held_out_loss(model, aside, precision, start=start, at_a_time=config.training.microbatch)
        elif aside:
            loss = trainer.evaluate()["eval_loss"]
        trl.must_be_finite(0.0 if loss is None else loss, "the held-out loss")
        leave_the_rest_to_the_first()
        _export(config, model, loaded, run)
        result = {
            "texts": len(train),
            "held_out_texts": len(aside),
            "held_out_loss": loss,
            "held_out_perplexity": math.exp(min(loss, 700.0)) if loss is not None else None,
            "steps": steps,
            "seconds": round(time.perf_counter() - began, 2),
        }
        write_json(run.path / "result.json", result)
        trl.clear_checkpoints(run)
        return result


def _trained(config: SftConfig, loaded: Loaded) -> Any:
    """The model with what of it is trained: every weight, or new adapters with their dropout."""
    if config.lora is None:
        return loaded.model
    torch.manual_seed(config.seed)  # new adapter weights
    return with_adapters(loaded.model, config.lora, dropout=config.lora.dropout)


def _has_prompts(config: SftConfig) -> bool:
    return config.data.prompt_column is not None or config.data.template is not None


def _export(config: SftConfig, model: Any, loaded: Loaded, run: RunDir) -> None:
    """model/, and with LoRA adapter/ too where its base is a folder: what policy.adapter of a PPO run goes on from."""
    whole = model
    if config.lora is not None:
        if not (resolve(config.policy.model, config.policy.revision) / "adapter_config.json").exists():
            write_folder(run.path / "adapter", lambda place: model.save_pretrained(str(place)))
        whole = model.merge_and_unload()
    write_folder(run.model, lambda place: save_model(whole, loaded.tokenizer, place, source=loaded.folder))


def token_rows(
    rows: list[Demonstration], config: SftConfig, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[dict[str, list[int]]], list[dict[str, list[int]]]]:
    """Rows to train on and held-out rows: input_ids, and completion_mask where there are prompts.

    Prompt and text are tokenized apart, as they will be when the policy answers. The end token is learned, unless the
    text was cut.
    Raises DataError when nothing is left.
    """
    limit, end = config.training.max_length_tokens, tokenizer.eos_token_id
    aside = held_out([prompt_key(row.prompt or row.text) for row in rows], config.data.held_out_share, seed=config.seed)
    sides: tuple[list[dict[str, list[int]]], list[dict[str, list[int]]]] = ([], [])
    for row, apart in zip(rows, aside, strict=True):
        before = tokenizer(row.prompt)["input_ids"] if row.prompt else []
        if before and before[-1] == end:
            before = before[:-1]
        text = tokenizer(row.text, add_special_tokens=not before)["input_ids"]
        text = text if text and text[-1] == end else [*text, end]
        ids = (before + text)[:limit]
        made = {"input_ids": ids}
        if _has_prompts(config):
            made["completion_mask"] = [int(i >= len(before)) for i in range(len(ids))]
        if len(ids) > max(1, len(before)):
            sides[apart].append(made)
    if not sides[0]:
        raise DataError(
            f"{config.data.source}: no text is left to train on with training.max_length_tokens {limit}",
            "raise it, or give shorter prompts",
        )
    return sides


def _packed_rows(train: list[dict[str, list[int]]], config: SftConfig) -> int:
    if not config.training.packing:
        return len(train)
    return max(1, sum(len(row["input_ids"]) for row in train) // config.training.max_length_tokens)
