"""Attention that the packed layouts cannot do says so, and the padded path reads it; the cache keeps what it is given."""

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from appliance.models import attention
from appliance.models.attention import CannotPack, KvCache, Packed, attending, causal_bias
from appliance.models.critic import ValueHead
from appliance.models.policy import Policy
from appliance.ppo.invariants import packing_problem

PROMPTS, RESPONSES = [7, 1, 3], [5, 4, 6]
SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
}


def gemma2() -> PreTrainedModel:
    """Caps its attention scores."""
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=8, query_pre_attn_scalar=8, sliding_window=64))


def mistral(window: int = 4) -> PreTrainedModel:
    """Sees `window` tokens."""
    return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=window))


def granite() -> PreTrainedModel:
    """Divides its logits by 3 after the head."""
    return GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=3.0))


def bloom() -> PreTrainedModel:
    """Has attention of its own, which does not ask the interface."""
    sizes = {"vocab_size": 97, "hidden_size": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
    return BloomForCausalLM(BloomConfig(**sizes, pad_token_id=0))


def policy_of(made: PreTrainedModel, precision) -> Policy:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.15)
    return Policy(made, ValueHead(32), precision)


@pytest.mark.parametrize(
    ("build", "why"), [(gemma2, r"passes \['softcap'\]"), (mistral, "MistralAttention sees 4 tokens of 11")]
)
def test_attention_that_cannot_be_packed_says_why_and_leaves_the_model_as_it_was(build, why, precision, sequences):
    policy = policy_of(build(), precision)
    before = policy.model.lm.config._attn_implementation
    with pytest.raises(CannotPack, match=why):
        policy.read(*sequences(PROMPTS, RESPONSES), temperature=1.0)
    assert policy.model.lm.config._attn_implementation == before


@pytest.mark.parametrize("build", [gemma2, mistral, granite, bloom])
@torch.no_grad()
def test_the_padded_path_reads_what_cannot_be_packed(build, precision, sequences):
    policy = policy_of(build(), precision)
    prompts, responses = sequences(PROMPTS, RESPONSES)
    assert packing_problem(policy, prompts, 6)  # named, never silently wrong
    policy.use_padding()
    assert not policy.packs
    found = policy.read(prompts, responses, temperature=0.7).logprobs
    for row, (p, r) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        ids = torch.cat([prompts.ids[row, :p], responses.ids[row, :r]])[None]
        log_p = (policy.model.lm(input_ids=ids).logits[0, p - 1 : -1] / 0.7).log_softmax(-1)
        expected = log_p.gather(1, responses.ids[row, :r, None])[:, 0]
        torch.testing.assert_close(found[row, :r], expected, atol=1e-5, rtol=0)


def test_a_window_that_is_wider_than_the_text_does_not_matter(precision, sequences):
    policy = policy_of(mistral(window=64), precision)
    prompts, responses = sequences(PROMPTS, RESPONSES)
    assert packing_problem(policy, prompts, 6) is None
    packed = policy.read(prompts, responses, temperature=1.0).logprobs
    policy.use_padding()
    torch.testing.assert_close(packed, policy.read(prompts, responses, temperature=1.0).logprobs, atol=1e-5, rtol=0)


def test_attention_that_does_not_ask_the_interface_is_found_out(precision, sequences):
    prompts, _ = sequences(PROMPTS, RESPONSES)
    assert "log-probabilities differ" in packing_problem(policy_of(bloom(), precision), prompts, 6)


def test_a_cache_gives_back_what_was_written_and_keeps_rows():
    cache = KvCache(3, 4)
    keys = torch.arange(12.0).view(3, 2, 2)  # [N, Hkv, D]
    cache.write(0, torch.tensor([0, 5, 11]), keys, -keys)  # row 0 column 0, row 1 column 1, row 2 column 3
    found, values = cache.read(0, 4)  # [B, Hkv, T, D]
    assert torch.equal(found[0, :, 0], keys[0])
    assert torch.equal(found[1, :, 1], keys[1])
    assert torch.equal(found[2, :, 3], keys[2])
    assert int(found.ne(0).any(-1).any(1).sum()) == 3
    assert torch.equal(values, -found)
    cache.keep(torch.tensor([2, 0]))
    kept, _ = cache.read(0, 4)
    assert torch.equal(kept, found[[2, 0]])
    assert torch.equal(cache.read(0, 2)[0], kept[:, :, :2])


@pytest.mark.parametrize("bf16", [False, True])
def test_packed_attention_is_causal_attention_within_each_sequence(bf16):
    generator = torch.Generator().manual_seed(1)
    lengths = [4, 1, 3]
    total = sum(lengths)
    query = torch.randn(1, 4, total, 8, generator=generator)
    key, value = (torch.randn(1, 2, total, 8, generator=generator) for _ in range(2))
    mask = torch.arange(4)[None] < torch.tensor(lengths)[:, None]
    layout = Packed(3, 4, mask.flatten().nonzero().squeeze(1), causal_bias(4, query.device))
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    backend.fp32_precision = "bf16" if bf16 else before
    try:
        found = layout.attend(0, query, key, value, None)[0]  # [N, H, D]
    finally:
        backend.fp32_precision = before
    start = 0
    for length in lengths:
        for t in range(length):
            for head in range(4):
                past = slice(start, start + t + 1)
                scores = key[0, head // 2, past] @ query[0, head, start + t] / 8**0.5
                expected = scores.softmax(0) @ value[0, head // 2, past]
                torch.testing.assert_close(found[start + t, head], expected, atol=5e-2 if bf16 else 1e-6, rtol=0)
        start += length


def test_a_layout_is_active_inside_attending_only(folder_of, make_policy):
    lm = make_policy(folder_of("gpt2")).model.lm
    before = lm.config._attn_implementation
    layout = Packed(1, 2, torch.arange(2), causal_bias(2, lm.device))
    with attending(lm, layout):
        assert lm.config._attn_implementation == "appliance"
    assert lm.config._attn_implementation == before
    with pytest.raises(ValueError, match="stop"), attending(lm, layout):
        raise ValueError("stop")
    assert lm.config._attn_implementation == before


@pytest.mark.parametrize("shared", [4, 2, 1])
@pytest.mark.parametrize("fused_projection", [True, False])
def test_short_attention_and_its_gradients_equal_the_fused_kernels(shared, fused_projection, monkeypatch):
    """q, k and v are slices of one projection (as in GPT-2) or tensors of their own; 4 heads share `shared` keys."""
    lengths, width, dim = [5, 1, 3], 5, 8
    slots = torch.tensor([row * width + column for row, n in enumerate(lengths) for column in range(n)])
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(1, 9, (4 + 2 * shared) * dim, generator=generator, dtype=torch.float64)
    wanted = torch.randn(1, 9, 4, dim, generator=generator, dtype=torch.float64)

    def run(limit: int) -> tuple[torch.Tensor, torch.Tensor]:
        monkeypatch.setattr(attention, "SHORT", limit)
        leaf = tokens.clone().requires_grad_()
        parts = leaf.split([4 * dim, shared * dim, shared * dim], dim=-1)
        query, key, value = (part.unflatten(-1, (-1, dim)).transpose(1, 2) for part in parts)
        if not fused_projection:
            query, key, value = query.contiguous(), key.clone(), value.clone()
        out = Packed(3, width, slots, causal_bias(width, slots.device)).attend(0, query, key, value, None)
        return out.detach(), torch.autograd.grad(out, leaf, wanted)[0]

    short, long = run(limit=width), run(limit=width - 1)
    torch.testing.assert_close(short[0], long[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(short[1], long[1], rtol=0, atol=1e-12)
