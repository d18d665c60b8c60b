"""The stages of RLHF, one file each: `run(config, run, resume=...)` trains in a run folder and leaves the result there."""
