"""Before training: does the largest micro-batch that can come fit into memory, with the optimizer's own tensors there?"""

import torch

from appliance.ppo.memory import ChunkSize
from appliance.ppo.types import Batch, Prompts, Responses, Rollout
from appliance.ppo.update import Learner, accumulate


def probe(learner: Learner, prompt_tokens: int, response_tokens: int, *, chunk: ChunkSize) -> None:
    """Try one forward and backward of `chunk.size` sequences of the longest kind; where it does not fit, `chunk` is halved.

    AdamW keeps two tensors as large as the weights from its first step on, so as much is held while trying. No weight
    and no random state changes. Raises ApplianceError when one sequence is too many.
    """
    batch = longest_batch(learner, chunk.size, prompt_tokens, response_tokens)
    rows = torch.arange(chunk.size)
    there = bool(learner.optimizer.state)  # after a resume
    held = [] if there else [torch.empty_like(p) for p in learner.parameters.values() for _ in range(2)]
    accumulate(learner, batch, rows, chunk.size * response_tokens, kl_coef=1.0, chunk=chunk, stop=lambda: False)
    held.clear()
    if learner.policy.compiled:  # the sizes that torch sees first shape the code: the same ones in every session
        learner.policy.read_reference(batch.rollout.prompts, batch.rollout.responses, temperature=1.0)
    learner.optimizer.zero_grad(set_to_none=True)


def longest_batch(learner: Learner, rows: int, prompt_tokens: int, response_tokens: int) -> Batch:
    """A batch of `rows` sequences, all of the longest kind, with content that does not matter."""
    device = learner.policy.device
    zeros = torch.zeros(rows, response_tokens, device=device)
    prompts = Prompts(
        [""] * rows,
        torch.zeros(rows, prompt_tokens, dtype=torch.long, device=device),
        torch.full((rows,), prompt_tokens, device=device),
    )
    responses = Responses(
        ids=torch.zeros(rows, response_tokens, dtype=torch.long, device=device),
        lengths=torch.full((rows,), response_tokens, device=device),
        ended=torch.zeros(rows, dtype=torch.bool, device=device),
        engine_logprobs=zeros,
        texts=[""] * rows,
    )
    rollout = Rollout(prompts, responses, logprobs=zeros, ref_logprobs=zeros, values=zeros, entropy=zeros)
    return Batch(
        rollout, torch.zeros(rows, device=device), zeros, zeros, zeros, torch.ones_like(zeros, dtype=torch.bool)
    )
