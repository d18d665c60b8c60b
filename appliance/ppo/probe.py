"""Before training: does the largest micro-batch that can come fit into memory, with the optimizer's own tensors there?"""

import torch

from appliance.ppo.logprobs import CHUNK_BYTES
from appliance.ppo.memory import ChunkSize
from appliance.ppo.rollout import CPU_ROWS
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
    if learner.policy.compiled:
        _shape(learner, prompt_tokens, response_tokens, chunk.size)
    learner.optimizer.zero_grad(set_to_none=True)


def _shape(learner: Learner, prompt_tokens: int, response_tokens: int, microbatch: int) -> None:
    """Read once of every kind that torch makes a graph of its own for, as policy and as reference.

    The sizes that it sees first shape the code; were they those of the first rollout, a resumed run would have another
    code than the one that it goes on with.
    """
    config, policy = learner.config, learner.policy
    most = CHUNK_BYTES // (4 * policy.model.vocabulary)
    read = (microbatch, config.batch.minibatch % microbatch, CPU_ROWS, config.batch.rollout % CPU_ROWS)
    for rows, tokens in kinds_of_reading(read, response_tokens, most):
        batch = longest_batch(learner, rows, prompt_tokens, tokens)
        chunk = ChunkSize("probe", rows, lambda _: None)
        everything = torch.arange(rows)
        accumulate(learner, batch, everything, rows * tokens, kl_coef=1.0, chunk=chunk, stop=lambda: False)
        with policy.precision.active():
            policy.read_reference(
                batch.rollout.prompts, batch.rollout.responses, temperature=config.sampling.temperature
            )


def kinds_of_reading(rows_read: tuple[int, ...], tokens: int, most: int) -> list[tuple[int, int]]:
    """(rows, response tokens), one for each kind: of one row or several, with logits in the graph or (over `most`) not.

    The first of `rows_read` leads, 0 counts for nothing. Shorter responses may come than of `tokens`, so wherever the logits
    are too many there is a reading, too, in which they are not.
    """
    kinds: dict[tuple[bool, bool], tuple[int, int]] = {}
    for rows in filter(None, rows_read):
        kinds.setdefault((rows == 1, rows * tokens <= most), (rows, tokens))
        kinds.setdefault((rows == 1, True), (rows, max(1, most // rows)))
    return list(kinds.values())


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
