"""Reward-model training with TRL's RewardTrainer: preference pairs -> a classifier with one label, in model/."""

import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from scipy.stats import binomtest
from transformers import PreTrainedTokenizerBase
from trl import RewardConfig as TrlConfig
from trl import RewardTrainer

from appliance import parts
from appliance.config import RewardConfig
from appliance.data.preferences import Preference, read_preferences
from appliance.data.split import held_out
from appliance.errors import ApplianceError, DataError
from appliance.models.loading import load_new_reward_model
from appliance.models.precision import Precision, choose
from appliance.models.tokens import check_length
from appliance.progress import progress
from appliance.stages import trl_training as trl
from appliance.stages.session import session
from appliance.stages.trackers import tracking
from appliance.store.files import write_folder, write_json
from appliance.store.rundir import RunDir


def run(config: RewardConfig, run: RunDir, *, resume: bool = False) -> dict[str, Any]:
    """Train in `run`; returns result.json: pairs, held-out accuracy with its 95% interval, score mean and std, seconds.

    Raises StoppedByUser with a checkpoint written, and ApplianceError for what the user must mend.
    """
    with session(run) as stop:
        done = trl.finished(run) if resume else None
        if done is not None:
            return done
        began = time.perf_counter()
        precision = choose(config.device, config.compute)
        torch.manual_seed(config.seed)  # the new head's weights
        loaded = load_new_reward_model(config.model.model, config.model.revision)
        pairs, notes = read_preferences(config.data)
        aside = held_out([pair.prompt or pair.chosen for pair in pairs], config.data.held_out_share, seed=config.seed)
        train_pairs = [pair for pair, apart in zip(pairs, aside, strict=True) if not apart]
        test_pairs = [pair for pair, apart in zip(pairs, aside, strict=True) if apart]
        if not test_pairs:
            raise DataError(
                f"{config.data.source}: all {len(pairs)} pairs have one prompt, so none can be held out",
                "give pairs of more than one prompt, or put the prompt into chosen and rejected",
            )
        check_length(config.training.max_length_tokens, loaded)
        train = token_pairs(train_pairs, config, loaded.tokenizer)
        dropped = len(train_pairs) - len(train)
        if dropped:
            notes = [*notes, f"{dropped} pairs longer than {config.training.max_length_tokens} tokens were left out"]
        model = loaded.model.to(precision.device)
        steps = trl.steps_of(config.training, len(train))
        options = trl.arguments(config, config.training, config.optimizer, run, precision, steps=steps)
        with progress("Reward model", steps) as shown, tracking(config, run) as tracker:
            for note in notes:
                shown.say(f"  {note}")
            reporter = trl.Reporter(run, shown, stop, tracker, "accuracy")
            trainer = RewardTrainer(
                model=model,
                args=TrlConfig(
                    **options,
                    max_length=config.training.max_length_tokens,
                    center_rewards_coefficient=config.training.center_coef,
                ),
                train_dataset=Dataset.from_list(train),
                processing_class=loaded.tokenizer,
                optimizers=trl.optimizers(model, config.optimizer, steps),
                callbacks=[reporter],
            )
            trl.fit(trainer, run, reporter, precision, resume=resume)

        def fill(place: Path) -> None:
            model.save_pretrained(place)
            loaded.tokenizer.save_pretrained(place)

        write_folder(run.model, fill)
        try:
            measured = held_out_accuracy(run, test_pairs, precision)
        except ApplianceError:
            shutil.rmtree(run.model)  # a model that cannot score its own held-out pairs is no result
            raise
        result = {
            "pairs": len(train),
            **measured,
            "steps": steps,
            "seconds": round(time.perf_counter() - began, 2),
        }
        write_json(run.model / "reward.json", {"mean": measured["score_mean"], "std": measured["score_std"]})
        write_json(run.path / "result.json", result)
        trl.clear_checkpoints(run)
        return result


def token_pairs(
    pairs: list[Preference], config: RewardConfig, tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, list[int]]]:
    """chosen_ids and rejected_ids of prompt + response, tokenized as the reward source will. Raises DataError if none fits."""
    limit = config.training.max_length_tokens
    rows = [
        {
            "chosen_ids": tokenizer(pair.prompt + pair.chosen)["input_ids"],
            "rejected_ids": tokenizer(pair.prompt + pair.rejected)["input_ids"],
        }
        for pair in pairs
    ]
    kept = [row for row in rows if all(0 < len(ids) <= limit for ids in row.values())]
    if not kept:
        raise DataError(
            f"{config.data.source}: no pair is left to train on with training.max_length_tokens {limit}",
            "raise it, or give shorter texts",
        )
    return kept


def held_out_accuracy(run: RunDir, pairs: list[Preference], precision: Precision) -> dict[str, Any]:
    """How often the exported model scores the chosen side higher (ties count half), read from disk as PPO will.

    The interval is Wilson's. score_mean and score_std are over both sides.
    """
    source = parts.load("rewards", "trained")
    score = source.make(source.Options(model=str(run.model)), precision.device)
    prompts = [pair.prompt for pair in pairs]
    chosen = score(prompts, [pair.chosen for pair in pairs]).tolist()
    rejected = score(prompts, [pair.rejected for pair in pairs]).tolist()
    trl.must_be_finite(sum(chosen + rejected), "the sum of the held-out scores")
    right = sum(c > r for c, r in zip(chosen, rejected, strict=True))
    tied = sum(c == r for c, r in zip(chosen, rejected, strict=True))
    longer = sum(len(pair.chosen) > len(pair.rejected) for pair in pairs)
    interval = binomtest(round(right + tied / 2), len(pairs)).proportion_ci(method="wilson")
    return {
        "held_out_pairs": len(pairs),
        "held_out_accuracy": (right + tied / 2) / len(pairs),
        "held_out_accuracy_ci95": [float(interval.low), float(interval.high)],
        "longer_wins_accuracy": longer / len(pairs),
        "score_mean": statistics.fmean(chosen + rejected),
        "score_std": statistics.pstdev(chosen + rejected) or 1.0,
    }
