"""On a real GPU: captured steps against eager ones, packed reading against padded, the update against its micro-batches."""

import pytest
import torch

from appliance.engines import cuda_graph, eager
from appliance.engines._sampling import Sampling
from appliance.ppo.rollout import evaluate
from appliance.ppo.types import Batch, Prompts
from appliance.ppo.update import Progress, make_learner, update

SAMPLING = Sampling(temperature=0.9, top_k=0, top_p=1.0, stop_ids=(2, 3, 4))
PROMPTS, RESPONSES = [7, 1, 3, 5, 2, 6], [9, 4, 1, 6, 9, 12]
EQUAL_TOKENS_SHARE = {"fp32": 1.0, "bf16": 0.7}
"""Of the rows. In bf16 another shape of the same product rounds otherwise, which can move a token and all after it."""


def on_gpu(record):
    return record.to(torch.device("cuda"))


def generation_inputs(rows, width, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 8, (rows,), generator=generator)
    prompts = Prompts(["p"] * rows, torch.randint(2, 97, (rows, 8), generator=generator), lengths)
    limits = torch.randint(width // 2, width + 1, (rows,), generator=generator)
    return on_gpu(prompts), limits.cuda(), torch.rand(rows, width, generator=generator).cuda()


def compare(engine, inputs, compute):
    """The engine's tokens are eager's, and its log-probs those that the trainer finds for the same tokens."""
    policy = engine.policy
    with policy.precision.active():
        found = engine.generate(*inputs)
        wanted = eager.make(policy, engine.sampling).generate(*inputs)
        read = policy.read(inputs[0], found, temperature=engine.sampling.temperature, with_values=False)
    assert engine.fallback is None
    same = (torch.where(found.mask, found.ids, 0) == torch.where(wanted.mask, wanted.ids, 0)).all(dim=1)
    assert float(same.float().mean()) >= EQUAL_TOKENS_SHARE[compute]
    gap = (found.engine_logprobs - read.logprobs).abs().detach()
    assert float(gap.max()) < 4 * policy.precision.tolerance
    assert not found.engine_logprobs[~found.mask].any()
    return found


@pytest.mark.parametrize("train", ["full", "lora"])
def test_captured_steps_give_eagers_tokens_and_the_trainers_logprobs(model_folder, gpu_policy, compute, train):
    policy = gpu_policy(model_folder, compute, train)
    engine = cuda_graph.make(policy, SAMPLING)
    for rows, width, seed in ((20, 24, 0), (20, 24, 1), (3, 9, 2), (32, 2, 3), (19, 24, 4)):
        compare(engine, generation_inputs(rows, width, seed), compute)


@pytest.mark.parametrize("train", ["full", "lora"])
def test_graphs_read_the_weights_of_their_moment(folder_of, gpu_policy, compute, train):
    policy = gpu_policy(folder_of("llama"), compute, train)
    engine = cuda_graph.make(policy, SAMPLING)
    inputs, seen = generation_inputs(16, 12, 0), []
    for change in range(3):
        seen.append(compare(engine, inputs, compute).engine_logprobs)
        with torch.no_grad():
            for parameter in policy.trainable().values():
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(change))
                parameter.add_(0.1 * noise.to(parameter))
    assert (seen[0] - seen[1]).abs().max() > 0.1
    assert (seen[1] - seen[2]).abs().max() > 0.1


@pytest.mark.parametrize("cut", [Sampling(1.0, 7, 1.0, ()), Sampling(1.0, 0, 0.7, ()), Sampling(1.0, 0, 1.0, ())])
def test_cuts_of_the_distribution_can_be_captured(folder_of, gpu_policy, cut):
    compare(cuda_graph.make(gpu_policy(folder_of("gpt2"), "fp32"), cut), generation_inputs(8, 10, 0), "fp32")


def test_a_host_read_in_the_step_makes_the_engine_fall_back(folder_of, gpu_policy):
    policy = gpu_policy(folder_of("gpt2"), "fp32")
    handle = policy.model.body.register_forward_hook(lambda *_: torch.ones(1, device="cuda").item() and None)
    engine = cuda_graph.make(policy, SAMPLING)
    inputs = generation_inputs(8, 10, 0)
    with policy.precision.active():
        found, again = engine.generate(*inputs), engine.generate(*inputs)
        wanted = eager.make(policy, SAMPLING).generate(*inputs)
    handle.remove()
    assert engine.fallback is not None
    assert "capture failed" in engine.fallback
    assert torch.equal(found.ids, wanted.ids)
    assert torch.equal(again.ids, wanted.ids)


def test_a_pad_token_in_the_config_is_no_obstacle(folder_of, gpu_policy):
    policy = gpu_policy(folder_of("gpt2"), "bf16")
    policy.model.lm.config.pad_token_id = 5  # transformers then looks at the input on the host
    compare(cuda_graph.make(policy, SAMPLING), generation_inputs(8, 10, 0), "bf16")


def test_graphs_can_be_dropped_and_captured_again(folder_of, gpu_policy):
    policy = gpu_policy(folder_of("gpt2"), "fp32")
    engine = cuda_graph.make(policy, SAMPLING)
    for scale in (1.0, 1.1, 1.2):
        for parameter in policy.model.lm.parameters():
            parameter.data = parameter.data * scale  # elsewhere in memory: every graph is thrown away
        for rows in (2, 4, 8, 16, 32, 64):  # more than are kept
            compare(engine, generation_inputs(rows, 10, rows), "fp32")
        torch.cuda.empty_cache()


def test_packed_reading_equals_the_padded_forward(model_folder, gpu_policy, sequences, compute):
    policy = gpu_policy(model_folder, compute)
    prompts, responses = map(on_gpu, sequences(PROMPTS, RESPONSES))
    with torch.no_grad(), policy.precision.active():
        packed = policy.read(prompts, responses, temperature=0.7, with_entropy=True)
        policy.use_padding()
        padded = policy.read(prompts, responses, temperature=0.7, with_entropy=True)
    for name in ("logprobs", "entropy", "values"):
        torch.testing.assert_close(
            getattr(packed, name), getattr(padded, name), atol=4 * policy.precision.tolerance, rtol=0
        )
    assert packed.logprobs[responses.mask].std() > 0.3


def gpu_batch(policy, sequences, chunk):
    """A real rollout with random scores, advantages and returns."""
    prompts, responses = map(on_gpu, sequences(PROMPTS, RESPONSES))
    rollout = evaluate(policy, prompts, responses, temperature=1.0, chunk=chunk(8))
    mask, generator = responses.mask, torch.Generator().manual_seed(5)
    noise = [torch.randn(mask.shape, generator=generator).cuda() * mask for _ in range(3)]
    return Batch(rollout, torch.randn(len(mask), generator=generator).cuda(), *noise, mask)


def learn(policy, config, batch, size, chunk):
    """One optimizer step over the whole batch in micro-batches of `size`."""
    progress, plan = Progress(), torch.arange(len(batch.mask))[None]
    learner = make_learner(policy, config)
    update(learner, batch, plan, progress, step=0, kl_coef=0.1, chunk=chunk(size), stop=lambda: False)
    return progress


@pytest.mark.parametrize("train", ["full", "lora"])
def test_one_ppo_step_moves_the_weights(folder_of, gpu_policy, ppo_config, sequences, chunk, compute, train):
    policy = gpu_policy(folder_of("gpt2"), compute, train)
    config = ppo_config(folder_of("gpt2"), policy={"train": train}, optimizer={"learning_rate": 1e-3})
    batch = gpu_batch(policy, sequences, chunk)
    before = {name: p.detach().clone() for name, p in policy.trainable().items()}
    progress = learn(policy, config, batch, 6, chunk)
    assert (progress.steps, progress.skipped) == (1, 0)
    assert progress.sums["ratio"] / progress.tokens == pytest.approx(1.0, abs=policy.precision.tolerance)
    assert any(not torch.equal(p, before[name]) for name, p in policy.trainable().items())
    assert all(bool(p.isfinite().all()) for p in policy.trainable().values())


def test_micro_batches_do_not_change_the_step(folder_of, gpu_policy, ppo_config, sequences, chunk):
    config = ppo_config(folder_of("gpt2"))
    norms, losses = [], []
    for size in (6, 4, 1):
        policy = gpu_policy(folder_of("gpt2"), "fp32")
        progress = learn(policy, config, gpu_batch(policy, sequences, chunk), size, chunk)
        norms.append(progress.grad_norm)
        losses.append(progress.sums["policy_loss"])
    # fp32 sums in another order; TF32 is off by default
    assert norms[1:] == pytest.approx([norms[0]] * 2, rel=1e-4)
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-4, abs=1e-5)


def test_lack_of_gpu_memory_halves_the_chunk_and_keeps_the_engine(folder_of, gpu_policy, monkeypatch):
    engine = cuda_graph.make(gpu_policy(folder_of("gpt2"), "fp32"), SAMPLING)

    def full(step):
        raise torch.OutOfMemoryError("CUDA out of memory")

    inputs, capture = generation_inputs(8, 10, 0), engine._capture
    monkeypatch.setattr(engine, "_capture", full)
    with pytest.raises(torch.OutOfMemoryError):
        engine.generate(*inputs)
    monkeypatch.setattr(engine, "_capture", capture)
    compare(engine, inputs, "fp32")
