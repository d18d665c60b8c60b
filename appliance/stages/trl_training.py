"""What supervised fine-tuning and reward-model training share: TRL's trainers inside a run folder of ours."""

import json
import math
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from appliance.config.base import Optimizer, StageConfig
from appliance.errors import ApplianceError, StoppedByUser
from appliance.models.precision import Precision
from appliance.ppo.journal import Tracker
from appliance.ppo.pieces import Stop
from appliance.ppo.update import learning_rate_share
from appliance.progress import Progress
from appliance.stages.processes import accumulation, any_of
from appliance.store.files import explained
from appliance.store.rundir import RunDir

CHECKPOINTS = 4
"""Checkpoints written over a whole training; the newest two are kept, and none once the result is there."""

LOG_LINES = 100
"""Lines in metrics.jsonl over a whole training, at most."""


class Training(Protocol):
    """How long and how much at a time: the `training` section of both configs."""

    epochs: float
    max_steps: int | None
    batch: int
    microbatch: int


def steps_of(training: Training, rows: int) -> int:
    """Optimizer steps over `rows` rows: whole epochs' worth, or max_steps if that is less."""
    steps = math.ceil(training.epochs * math.ceil(rows / training.batch))
    return steps if training.max_steps is None else min(steps, training.max_steps)


def arguments(
    config: StageConfig, training: Training, optimizer: Optimizer, run: RunDir, precision: Precision, *, steps: int
) -> dict[str, Any]:
    """Keyword arguments that SFTConfig and RewardConfig share. Nothing is pushed, reported or downloaded."""
    return {
        "output_dir": str(run.checkpoints),
        "max_steps": steps,
        "per_device_train_batch_size": training.microbatch,
        "per_device_eval_batch_size": training.microbatch,
        "gradient_accumulation_steps": accumulation(training.batch, training.microbatch),
        "gradient_checkpointing": None,  # the older name of the next
        "activation_checkpointing": False,
        "max_grad_norm": optimizer.max_grad_norm,
        "bf16": precision.compute == "bf16" and precision.device.type == "cuda",
        "use_cpu": precision.device.type == "cpu",
        "seed": config.seed,
        "data_seed": config.seed,
        "logging_steps": max(1, steps // LOG_LINES),
        "save_steps": max(1, math.ceil(steps / CHECKPOINTS)),
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": precision.device.type == "cuda",
        "push_to_hub": False,
    }


def optimizers(
    model: torch.nn.Module, options: Optimizer, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW over what is trainable, no decay on vectors, and the schedule of the config over `steps`."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    made = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=options.learning_rate,
        betas=options.betas,
        eps=options.eps,
        fused=True,
    )
    return made, torch.optim.lr_scheduler.LambdaLR(made, lambda done: learning_rate_share(options, done, steps))


class Reporter(TrainerCallback):
    """Moves the progress bar, writes metrics.jsonl, and ends the training with a checkpoint when asked to stop."""

    def __init__(self, run: RunDir, shown: Progress, stop: Stop, tracker: Tracker | None, figure: str) -> None:
        self.run, self.shown, self.stop, self.tracker, self.figure = run, shown, stop, tracker, figure
        self.shown_figures: dict[str, float] = {}
        self.stopped = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """One optimizer step is done."""
        self.shown.advance(**self.shown_figures)
        if any_of(self.stop(), args.device) and state.global_step < state.max_steps:
            self.stopped = control.should_save = control.should_training_stop = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """The trainer's numbers of the steps since the last log."""
        numbers = {k: float(v) for k, v in (logs or {}).items() if isinstance(v, int | float) and math.isfinite(v)}
        if "loss" not in numbers:
            return
        self.shown_figures = {name: numbers[name] for name in ("loss", self.figure) if name in numbers}
        self.run.append("metrics.jsonl", {"step": state.global_step} | numbers)
        self.run.set_status("running", step=state.global_step, steps=state.max_steps)
        if self.tracker is not None:
            self.tracker(numbers, state.global_step)


def fit(trainer: Trainer, run: RunDir, reporter: Reporter, precision: Precision, *, resume: bool) -> None:
    """Train from the start, or with `resume` from the newest checkpoint.

    Raises StoppedByUser with a checkpoint written, ApplianceError when the disk is full or the weights overflowed.
    """
    last = newest_checkpoint(run.checkpoints) if resume else None
    step = int(last.name.rpartition("-")[2]) if last is not None else 0
    run.truncate_logs(step if last is not None else -1)
    reporter.shown.begin_at(step)
    trainer.remove_callback(PrinterCallback)
    by_us = precision.active() if precision.device.type == "cpu" else nullcontext()  # on a GPU the trainer's autocast
    with explained(run.checkpoints), by_us:
        trainer.train(resume_from_checkpoint=str(last) if last is not None else None)
    largest = [float(p.detach().abs().max()) for p in trainer.model.parameters() if p.requires_grad]
    must_be_finite(sum(largest), "the sum of the weights' largest sizes")
    if reporter.stopped:
        raise StoppedByUser(str(newest_checkpoint(run.checkpoints)))


def finished(run: RunDir) -> dict[str, Any] | None:
    """result.json of a run that ended: written last, after model/, so that a resume has nothing left to do."""
    file = run.path / "result.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def must_be_finite(value: float, what: str) -> None:
    """Raises ApplianceError when a training ended in numbers that mean nothing."""
    if not math.isfinite(value):
        raise ApplianceError(
            f"{what} is {value}: the training diverged", "lower optimizer.learning_rate and begin anew"
        )


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; trainer_state.json is what the trainer writes last."""
    while folder.is_dir():
        last = get_last_checkpoint(str(folder))
        if last is None:
            return None
        if (Path(last) / "trainer_state.json").exists():
            return Path(last)
        shutil.rmtree(last, ignore_errors=True)
    return None


def clear_checkpoints(run: RunDir) -> None:
    """The result is there: what was only for resuming goes."""
    shutil.rmtree(run.checkpoints, ignore_errors=True)
