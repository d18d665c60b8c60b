"""The errors that a user is meant to read. Anything else that is raised is a bug and keeps its traceback."""


class ApplianceError(Exception):
    """What happened and what was measured (`what`), and what to do about it (`fix`).

    The command line prints both and exits with 1; the page shows both. A message names the file, the line or the key.
    """

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}\n  fix: {fix}")
        self.what = what
        self.fix = fix


class ConfigError(ApplianceError):
    """A configuration that cannot run: unknown key, value out of range, settings that contradict each other."""


class DataError(ApplianceError):
    """A file of prompts, demonstrations or preferences that cannot be used; names the file and the line."""


class ModelError(ApplianceError):
    """A model folder or hub id that cannot be loaded, or does not fit what the config asks of it."""


class RewardUnavailable(ApplianceError):
    """A reward source that gives no scores for now, although it was asked more than once: a server that is down.

    A run that meets it has lost nothing: it writes a checkpoint, ends, and goes on with --resume.
    """


class StoppedByUser(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has written its checkpoint. The command line exits with 130."""

    def __init__(self, checkpoint: str | None) -> None:
        super().__init__("stopped by the user")
        self.checkpoint = checkpoint
