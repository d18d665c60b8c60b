"""Reward-model training: ranked responses -> a classifier with one number, in model/, measured on held-out prompts.

Flow: rankings, split by prompt -> samples of the starting policy, if scores are normalized by them -> training (TRL's
trainer, see reward_trainer) -> model/ -> held-out scores -> figures, scale and gate (model/reward.json) -> report/.
"""

import shutil
import time
from typing import Any

import torch
from datasets import Dataset
from trl import RewardConfig as TrlConfig

from appliance import parts
from appliance.config import RewardConfig
from appliance.data.preferences import Ranking, read_preferences
from appliance.errors import ApplianceError
from appliance.evaluate.reward_figures import ScoredPair, measure, scored_pairs
from appliance.models.loading import Loaded, load_new_reward_model
from appliance.models.precision import Precision, choose
from appliance.models.tokens import check_length
from appliance.ppo.pieces import Stop
from appliance.ppo.types import ScoreFn
from appliance.progress import Progress, progress
from appliance.stages import trl_training as trl
from appliance.stages.export import save_model
from appliance.stages.processes import leave_the_rest_to_the_first
from appliance.stages.reward_gate import judge_gate
from appliance.stages.reward_publish import publish
from appliance.stages.reward_rows import TokenRows, key_of, long_notes, split, token_rows
from appliance.stages.reward_scale import held_out_samples, policy_samples, scale
from appliance.stages.reward_trainer import RankingTrainer
from appliance.stages.session import session
from appliance.stages.trackers import tracking
from appliance.store.files import write_folder, write_json
from appliance.store.rundir import RunDir


def run(config: RewardConfig, run: RunDir, *, resume: bool = False) -> dict[str, Any]:
    """Train in `run`; returns result.json: counts, held-out figures, the scores' mean and std, the gate, seconds.

    Raises StoppedByUser with a checkpoint written, and ApplianceError for what the user must mend.
    """
    with session(run) as stop:
        done = trl.finished(run) if resume else None
        if done is not None:
            return done
        began = time.perf_counter()
        precision = choose(config.device, config.compute)
        rankings, notes = read_preferences(config.data)
        sides = split(rankings, config)
        torch.manual_seed(config.seed)  # the new head's weights
        loaded = load_new_reward_model(config.model.model, config.model.revision)
        check_length(config.training.max_length_tokens, loaded)
        train = token_rows(sides.train, config, loaded.tokenizer)
        notes = [*notes, *train.notes, *long_notes(sides.test, config, loaded.tokenizer)]
        steps = trl.steps_of(config.training, len(train.rows))
        samples = held_out_samples(sides.test)
        if config.normalization is not None:  # before the training: a wrong path shows at once
            samples = policy_samples(config.normalization, config, sides.test, precision)
        with progress("Reward model", steps) as shown:
            for note in notes:
                shown.say(f"  {note}")
            _train(config, run, loaded, train, precision, stop, shown=shown, steps=steps, resume=resume)
        try:
            score = raw_scores(run, precision)
            pairs, ties = _held_out(score, sides.test)
            scaling = scale(score, samples)
        except ApplianceError:
            shutil.rmtree(run.model)  # a model that cannot score its own held-out pairs is no result
            raise
        figures = measure(pairs, ties)
        gate = judge_gate(figures, config.gate)
        write_json(run.model / "reward.json", scaling | {"gate": gate})
        result = {
            "rankings": len(train.rows),
            "pairs": train.pairs,
            "training_ties": train.ties,
            "held_out_rankings": len(sides.test),
            **figures,
            "score_mean": scaling["mean"],
            "score_std": scaling["std"],
            "measured_on": scaling["measured_on"],
            "gate": gate,
            "steps": steps,
            "seconds": round(time.perf_counter() - began, 2),
        }
        publish(config, run, precision, result, pairs=pairs, notes=notes)
        write_json(run.path / "result.json", result)
        trl.clear_checkpoints(run)
        return result


def _train(
    config: RewardConfig,
    run: RunDir,
    loaded: Loaded,
    train: TokenRows,
    precision: Precision,
    stop: Stop,
    *,
    shown: Progress,
    steps: int,
    resume: bool,
) -> None:
    """Trains the loaded model and writes it to model/."""
    model = loaded.model.to(precision.device)
    options = trl.arguments(config, config.training, config.optimizer, run, precision, steps=steps)
    with tracking(config, run) as tracker:
        reporter = trl.Reporter(run, shown, stop, tracker, "accuracy")
        trainer = RankingTrainer(
            ranking_loss=config.training.loss,
            model=model,
            args=TrlConfig(
                **options,
                max_length=config.training.max_length_tokens,
                center_rewards_coefficient=config.training.center_coef,
            ),
            train_dataset=Dataset.from_list(train.rows),
            processing_class=loaded.tokenizer,
            optimizers=trl.optimizers(model, config.optimizer, steps),
            callbacks=[reporter],
        )
        trl.fit(trainer, run, reporter, precision, resume=resume)

    leave_the_rest_to_the_first()
    write_folder(run.model, lambda place: save_model(model, loaded.tokenizer, place, source=loaded.folder))


def raw_scores(run: RunDir, precision: Precision) -> ScoreFn:
    """The exported model as PPO will read it from disk, while its folder holds no scale: scores as they are."""
    source = parts.load("rewards", "trained")
    score: ScoreFn = source.make(source.Options(model=str(run.model)), precision.device)
    return score


def _held_out(score: ScoreFn, rankings: list[Ranking]) -> tuple[list[ScoredPair], list[ScoredPair]]:
    """The held-out pairs and ties with their scores, each response scored once. Raises ApplianceError if one is not finite."""
    prompts = [ranking.prompt for ranking in rankings for _ in ranking.responses]
    flat = score(prompts, [response for ranking in rankings for response in ranking.responses]).tolist()
    trl.must_be_finite(sum(flat), "the sum of the held-out scores")
    found = iter(flat)
    scores = [[next(found) for _ in ranking.responses] for ranking in rankings]
    return scored_pairs(rankings, [key_of(ranking) for ranking in rankings], scores)
