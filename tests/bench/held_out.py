"""Scores policies that contenders wrote: held-out reward and KL, by this project's own code, one `folder` at a time.

The prompts, the response lengths and the random number of every token are the same for every policy.
"""

from pathlib import Path
from typing import Any

import torch
from ours import assemble
from safetensors.torch import load_file
from setting import Gate, read_task

from appliance.ppo.held_out import measure_held_out


def main() -> None:
    """Answers with the metrics of each policy until the driver leaves."""
    pieces, state = assemble(read_task())
    lm = pieces.learner.policy.model.lm

    def measure(folder: Path) -> dict[str, Any]:
        weights = load_file(folder / "model.safetensors")
        if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
            return {"broken": "weights are not finite"}
        missing, unknown = lm.load_state_dict(weights, strict=False)
        assert set(missing) <= {"lm_head.weight"}, missing  # tied to the embeddings
        assert not unknown, unknown
        return dict(measure_held_out(pieces, state)[0])

    Gate(measure).wait()


if __name__ == "__main__":
    main()
