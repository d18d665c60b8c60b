"""Sampling responses, and reading them with the policy, the reference and the critic."""

from itertools import chain

import torch
from torch import Tensor

from appliance.models.policy import Policy
from appliance.ppo.memory import ChunkSize, in_chunks
from appliance.ppo.types import Decode, Engine, Generation, Prompts, Responses, Rollout


def sample(
    engine: Engine, prompts: Prompts, limits: Tensor, uniforms: Tensor, *, decode: Decode, chunk: ChunkSize
) -> Responses:
    """A response to each prompt, trimmed to the longest; limits and uniforms are taken to the prompts' device."""
    limits, uniforms = limits.to(prompts.ids.device), uniforms.to(prompts.ids.device)

    def generate(rows: Tensor) -> Generation:
        return engine.generate(prompts.rows(rows), limits[rows], uniforms[rows])

    parts = in_chunks(generate, torch.arange(len(prompts), device=limits.device), chunk)
    lengths = torch.cat([part.lengths for part in parts])
    width = int(lengths.max())
    ids = torch.cat([part.ids for part in parts])[:, :width]
    return Responses(
        texts=decode(_rows(prompts.ids, prompts.lengths), _rows(ids, lengths)),
        ids=ids,
        lengths=lengths,
        ended=torch.cat([part.ended for part in parts]),
        engine_logprobs=torch.cat([part.engine_logprobs for part in parts])[:, :width],
    )


CPU_ROWS = 32
"""Sequences that a CPU reads at a time: more would only push each other's activations out of its cache."""


@torch.no_grad()
def evaluate(
    policy: Policy, prompts: Prompts, responses: Responses, *, temperature: float, chunk: ChunkSize
) -> Rollout:
    """What the policy, the reference and the critic say of the responses, read with the weights that sampled them.

    Sequences go through the models in order of length, so that each piece is about as wide as its shortest row.
    """
    order = (prompts.lengths + responses.lengths).argsort(descending=True, stable=True)

    def read(rows: Tensor) -> Rollout:
        some_prompts, some_responses = prompts.rows(rows), responses.rows(rows)
        with policy.precision.active():
            mine = policy.read(
                some_prompts, some_responses, temperature=temperature, with_entropy=True, keep_trunk=True
            )
            reference = policy.read_reference(some_prompts, some_responses, temperature=temperature, trunk=mine.trunk)
        assert mine.entropy is not None
        assert mine.values is not None
        return Rollout(some_prompts, some_responses, mine.logprobs, reference, mine.values, mine.entropy, mine.trunk)

    def read_all(rows: Tensor) -> list[Rollout]:
        return [read(some) for some in rows.split(CPU_ROWS if policy.device.type == "cpu" else len(rows))]

    parts = list(chain.from_iterable(in_chunks(read_all, order, chunk)))
    back = order.argsort()
    whole = Rollout(
        prompts=prompts.rows(order),
        responses=responses.rows(order),
        logprobs=torch.cat([part.logprobs for part in parts]),
        ref_logprobs=torch.cat([part.ref_logprobs for part in parts]),
        values=torch.cat([part.values for part in parts]),
        entropy=torch.cat([part.entropy for part in parts]),
        trunk=[row for part in parts for row in part.trunk] if parts[0].trunk is not None else None,
    )
    return whole.rows(back)


def _rows(ids: Tensor, lengths: Tensor) -> list[list[int]]:
    return [row[:n] for row, n in zip(ids.tolist(), lengths.tolist(), strict=True)]
