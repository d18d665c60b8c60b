"""A run's numbers sent to accelerate's trackers too (TensorBoard without an account; others where installed)."""

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import Accelerator
from accelerate.utils import is_mlflow_available, is_tensorboard_available, is_wandb_available

from appliance.config.base import StageConfig
from appliance.errors import ConfigError
from appliance.ppo.journal import Tracker
from appliance.store.rundir import RunDir, flat

INSTALLED = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available, "mlflow": is_mlflow_available}


@contextmanager
def tracking(config: StageConfig, run: RunDir) -> Iterator[Tracker | None]:
    """Logs to the trackers of the config, in the run's folder `trackers`; None when there are none.

    Raises ConfigError for a tracker that is not installed.
    """
    absent = [name for name in config.trackers if not INSTALLED[name]()]
    if absent:
        raise ConfigError(f"trackers: {', '.join(absent)} is not installed", f"pip install {' '.join(absent)}")
    if not config.trackers:
        yield None
        return
    accelerator = Accelerator(log_with=list(config.trackers), project_dir=str(run.path / "trackers"))
    settings = {key: str(value) for key, value in flat(config.model_dump(mode="json")).items()}
    accelerator.init_trackers(config.name, config=settings)
    try:
        yield lambda metrics, step: accelerator.log(metrics, step=step)
    finally:
        accelerator.end_training()
