"""The graph engine's static buffers on the CPU, where a "capture" calls the step again: the same tokens as eager's."""

import pytest
import torch

from appliance.engines import cuda_graph, eager
from appliance.engines._sampling import Sampling
from appliance.engines._shadow import Shadow
from appliance.errors import ConfigError
from appliance.models.precision import Precision
from appliance.ppo.types import Prompts

TOLERANCE = 2e-5  # of log-probs; the cache is wider than eager's, so sums run in another order
PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0, stop_ids=())
STOPPING = Sampling(temperature=0.9, top_k=0, top_p=1.0, stop_ids=tuple(range(2, 12)))
LENGTHS = [5, 1, 3, 7, 2]


def again(step):
    return step


def make_prompts(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 97, (len(lengths), max(lengths)), generator=generator)
    return Prompts(["p"] * len(lengths), ids, torch.tensor(lengths))


def both(engine, prompts, limits, seed=1):
    """The engine's generation and eager's, of the same weights."""
    limits = torch.tensor(limits)
    uniforms = torch.rand(len(prompts), int(limits.max()), generator=torch.Generator().manual_seed(seed))
    found = engine.generate(prompts, limits, uniforms)
    return found, eager.make(engine.policy, engine.sampling).generate(prompts, limits, uniforms)


def same(found, wanted):
    assert torch.equal(found.lengths, wanted.lengths)
    assert torch.equal(found.ended, wanted.ended)
    assert torch.equal(torch.where(found.mask, found.ids, 0), torch.where(wanted.mask, wanted.ids, 0))
    torch.testing.assert_close(found.engine_logprobs, wanted.engine_logprobs, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "sampling",
    [PLAIN, STOPPING, Sampling(0.7, 5, 1.0, ()), Sampling(1.3, 0, 0.6, (4, 5, 6)), Sampling(1.0, 9, 0.8, ())],
    ids=["plain", "stopping", "top_k", "top_p", "both"],
)
def test_tokens_and_logprobs_are_eagers(model_folder, make_policy, sampling):
    engine = cuda_graph.CudaGraphEngine(make_policy(model_folder), sampling, again)
    found, wanted = both(engine, make_prompts(LENGTHS), [9, 12, 1, 4, 12])
    assert engine.fallback is None
    same(found, wanted)
    assert found.ids[found.mask].unique().numel() > 5  # the tokens differ, so a wrong step would show


def test_stops_and_limits_are_both_met(folder_of, make_policy):
    engine = cuda_graph.CudaGraphEngine(make_policy(folder_of("gpt2")), STOPPING, again)
    found, _ = both(engine, make_prompts(LENGTHS * 4), [12] * 19 + [3])
    assert found.ended.any()
    assert not found.ended.all()
    for row in range(20):
        length = int(found.lengths[row])
        stops = torch.isin(found.ids[row, :length], torch.tensor(STOPPING.stop_ids))
        assert not stops[:-1].any()
        assert bool(stops[-1]) == bool(found.ended[row])
        assert found.ended[row] or length == (3 if row == 19 else 12)


@pytest.mark.parametrize("train", ["full", "lora", "top_layers"])
def test_each_call_uses_the_weights_of_its_moment(model_folder, make_policy, train):
    policy = make_policy(model_folder, train, **({"top_layers": 1} if train == "top_layers" else {}))
    engine = cuda_graph.CudaGraphEngine(policy, PLAIN, again)
    prompts, seen = make_prompts(LENGTHS), []
    for change in range(3):
        found, wanted = both(engine, prompts, [8] * 5)
        same(found, wanted)
        seen.append(found.engine_logprobs)
        with torch.no_grad():
            for parameter in policy.trainable().values():
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(change))
                parameter.add_(0.1 * noise)
    assert engine.fallback is None
    assert (seen[0] - seen[1]).abs().max() > 0.05
    assert (seen[1] - seen[2]).abs().max() > 0.05


def test_weights_that_were_replaced_are_noticed(folder_of, make_policy):
    policy = make_policy(folder_of("llama"))
    engine = cuda_graph.CudaGraphEngine(policy, PLAIN, again)
    both(engine, make_prompts(LENGTHS), [8] * 5)
    before = engine._graphs[8, 64]
    both(engine, make_prompts(LENGTHS), [8] * 5)
    assert engine._graphs[8, 64] is before
    for parameter in policy.model.lm.parameters():
        parameter.data = parameter.data * 1.3
    same(*both(engine, make_prompts(LENGTHS), [8] * 5))
    assert engine._graphs[8, 64] is not before  # a real graph would go on reading the old ones


def test_one_graph_serves_every_batch_of_its_bucket(folder_of, make_policy):
    captured = []

    def capture(step):
        captured.append(step)
        return step

    engine = cuda_graph.CudaGraphEngine(make_policy(folder_of("gpt2")), STOPPING, capture)
    for count, seed in ((8, 0), (5, 1), (7, 2), (8, 3)):  # all in the bucket of 8 rows, and other rows' leftovers in it
        lengths = [1 + (i * 3 + seed) % 7 for i in range(count)]
        same(*both(engine, make_prompts(lengths, seed), [4 + i for i in range(count)], seed))
    assert len(captured) == 1
    for count in (9, 2, 1, 3, 17):
        same(*both(engine, make_prompts([2] * count), [6] * count))
    assert len(captured) == 1 + 5
    assert len(engine._graphs) == cuda_graph.KEPT_GRAPHS
    assert engine.fallback is None


def test_the_batch_may_be_split_in_any_way(folder_of, make_policy):
    engine = cuda_graph.CudaGraphEngine(make_policy(folder_of("qwen2")), PLAIN, again)
    prompts, limits = make_prompts(LENGTHS), torch.full((5,), 7)
    uniforms = torch.rand(5, 7, generator=torch.Generator().manual_seed(4))
    whole = engine.generate(prompts, limits, uniforms)
    for rows in (torch.tensor([3]), torch.tensor([4, 0, 2])):
        part = engine.generate(prompts.rows(rows), limits[rows], uniforms[rows])
        assert torch.equal(part.ids, whole.ids[rows])


def test_responses_of_one_token_need_no_graph(folder_of, make_policy):
    def never(step):
        raise AssertionError("nothing is to be captured")

    engine = cuda_graph.CudaGraphEngine(make_policy(folder_of("gpt2")), PLAIN, never)
    same(*both(engine, make_prompts(LENGTHS), [1] * 5))


def test_a_response_may_end_at_the_models_last_position(folder_of, make_policy):
    # 64 positions, numbers 0 to 63; the last token of a response is never read, so 60 + 5 tokens still fit
    engine = cuda_graph.CudaGraphEngine(make_policy(folder_of("gpt2")), PLAIN, again)
    prompts = make_prompts([60, 41])
    uniforms = torch.rand(2, 24, generator=torch.Generator().manual_seed(1))
    found = engine.generate(prompts, torch.tensor([5, 24]), uniforms)
    assert engine.fallback is None
    assert found.lengths.tolist() == [5, 24]


def stale(step):
    step()
    return lambda: None


def constant_column():
    """A capture in which the number of tokens read so far has become a constant."""

    def capture(step):
        decoder = step.__closure__[0].cell_contents
        then = decoder.columns.clone()

        def replay():
            decoder.columns.copy_(then)
            step()

        return replay

    return capture


def broken(step):
    raise RuntimeError("operation not permitted when stream is capturing\nsecond line")


@pytest.mark.parametrize(
    ("capture", "reason"),
    [(stale, "replayed steps differ"), (constant_column(), "replayed steps differ"), (broken, "the capture failed")],
    ids=["stale", "constant", "broken"],
)
def test_a_graph_that_is_wrong_or_missing_is_never_used(folder_of, make_policy, capture, reason):
    engine = cuda_graph.CudaGraphEngine(make_policy(folder_of("gpt2")), PLAIN, capture)
    same(*both(engine, make_prompts(LENGTHS), [9] * 5))
    assert engine.fallback is not None
    assert engine.fallback.startswith(reason)
    assert "\n" not in engine.fallback
    same(*both(engine, make_prompts(LENGTHS), [9] * 5, seed=2))  # and eager goes on


def test_lack_of_memory_in_a_capture_is_no_reason_to_fall_back(folder_of, make_policy):
    fits = [True]

    def capture(step):
        if not fits:
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            except torch.OutOfMemoryError:
                raise RuntimeError("the capture was broken off")  # noqa: B904 - as ending a broken capture does
        return step

    engine = cuda_graph.CudaGraphEngine(make_policy(folder_of("gpt2")), PLAIN, capture)
    both(engine, make_prompts(LENGTHS[:1]), [9])
    fits.clear()
    with pytest.raises(torch.OutOfMemoryError):
        both(engine, make_prompts(LENGTHS), [9] * 5)
    assert not engine._graphs  # their caches make room
    fits.append(True)
    same(*both(engine, make_prompts(LENGTHS[:2]), [9] * 2))
    assert engine.fallback is None


def test_attention_that_the_layouts_lack_is_left_to_the_plain_engine(folder_of, make_policy):
    policy = make_policy(folder_of("llama"))
    for name, module in policy.model.lm.named_modules():
        if name.endswith("self_attn"):
            module.is_causal = False
    engine = cuda_graph.CudaGraphEngine(policy, PLAIN, again)
    limits, uniforms = torch.tensor([4, 4]), torch.rand(2, 4, generator=torch.Generator().manual_seed(0))
    assert engine.generate(make_prompts([3, 2]), limits, uniforms).lengths.tolist() == [4, 4]
    assert engine.fallback is not None
    assert "non-causal" in engine.fallback


def test_a_policy_that_is_read_with_padding_gets_no_graphs(folder_of, make_policy):
    policy = make_policy(folder_of("gpt2"))
    policy.use_padding()
    assert cuda_graph.CudaGraphEngine(policy, PLAIN, again).fallback == "the model is read with padding"


def test_it_is_refused_without_a_gpu(folder_of, make_policy):
    with pytest.raises(ConfigError, match="on the cpu"):
        cuda_graph.make(make_policy(folder_of("gpt2")), PLAIN)


@pytest.mark.parametrize("train", ["full", "lora"])
def test_the_bf16_shadow_computes_what_autocast_computes(model_folder, make_policy, sequences, train):
    policy = make_policy(model_folder, train)
    prompts, _ = sequences([6, 6, 6], [1, 1, 1])
    shadow = Shadow(policy.model.lm, torch.bfloat16)
    for scale in (1.0, 0.3):
        with torch.no_grad():
            for number, parameter in enumerate(policy.trainable().values()):
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
                parameter.add_(0.05 * scale * noise)
        shadow.refresh()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            found = shadow.model.lm(input_ids=prompts.ids, use_cache=False).logits
            wanted = policy.model.lm(input_ids=prompts.ids, use_cache=False).logits
        assert torch.equal(found, wanted)
    own = {p.data_ptr() for p in policy.model.lm.parameters()}
    mine = [p for p in shadow.model.lm.parameters() if p.data_ptr() not in own]
    assert mine
    assert all(p.dtype == torch.bfloat16 for p in mine)  # everything else is shared
    assert shadow.valid


def test_the_shadow_never_looks_for_padding_on_the_host(folder_of, make_policy):
    policy = make_policy(folder_of("gpt2"))
    policy.model.lm.config.pad_token_id = 5
    assert Shadow(policy.model.lm, None).model.body.config.pad_token_id is None
    assert policy.model.lm.config.pad_token_id == 5


def test_buckets():
    assert [cuda_graph.rounded_rows(n) for n in (1, 2, 3, 33, 64, 65, 128, 129)] == [1, 2, 4, 64, 64, 128, 128, 192]
    assert [cuda_graph.rounded_tokens(n) for n in (1, 64, 65, 128)] == [64, 64, 128, 128]


def test_an_engine_of_a_bf16_cpu_policy_has_nothing_to_cast(folder_of, make_policy):
    policy = make_policy(folder_of("gpt2"))
    policy.precision = Precision(torch.device("cpu"), "bf16")
    assert cuda_graph.CudaGraphEngine(policy, PLAIN, again)._dtype is None
