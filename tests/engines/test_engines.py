"""Every engine writes the same tokens from the same weights and numbers, however the batch is made up."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from appliance.config.ppo import Sampling as SamplingConfig
from appliance.engines import eager, plain
from appliance.engines._choice import engine_name, make_engine
from appliance.engines._sampling import Sampling
from appliance.models.attention import CannotPack
from appliance.models.critic import ValueHead
from appliance.models.policy import Policy
from appliance.ppo.types import Generation, Prompts, Responses

STOPS = tuple(range(30))
"""About a third of the words, so that many responses end by themselves."""

OPTIONS = {
    "as it is": Sampling(1.0, 0, 1.0, ()),
    "stops": Sampling(1.0, 0, 1.0, STOPS),
    "cold": Sampling(0.5, 0, 1.0, (0,)),
    "hot, top 5": Sampling(1.7, 5, 1.0, STOPS),
    "top 60 %": Sampling(0.9, 0, 0.6, STOPS),
}


@torch.no_grad()
def one_by_one(lm, given, sampling: Sampling) -> tuple[list[list[int]], list[bool]]:
    """Each response from whole unpadded forwards, without a cache and without the package's sampling."""
    prompts, limits, uniforms = given
    found, ended = [], []
    for row, length in enumerate(prompts.lengths.tolist()):
        ids = prompts.ids[row, :length].tolist()
        for t in range(int(limits[row])):
            probs = (lm(input_ids=torch.tensor([ids])).logits[0, -1].double() / sampling.temperature).softmax(-1)
            ranked = probs.sort(descending=True, stable=True).indices.tolist()
            kept, mass = [], 0.0
            for token in ranked[: sampling.top_k or None]:
                if mass >= sampling.top_p:
                    break
                kept.append(token)
                mass += float(probs[token])
            reached = 0.0
            for token in sorted(kept):
                reached += float(probs[token])
                if reached > float(uniforms[row, t]) * mass:
                    break
            ids.append(token)
            if token in sampling.stop_ids:
                break
        found.append(ids[length:])
        ended.append(ids[-1] in sampling.stop_ids)
    return found, ended


def rows(generation: Generation) -> list[list[int]]:
    return [ids[:n] for ids, n in zip(generation.ids.tolist(), generation.lengths.tolist(), strict=True)]


@pytest.mark.parametrize("name", OPTIONS)
def test_both_engines_write_what_one_row_at_a_time_writes(model_folder, make_policy, given, name):
    sampling, policy = OPTIONS[name], make_policy(model_folder)
    expected, ended = one_by_one(policy.model.lm, given, sampling)
    written = [module.make(policy, sampling).generate(*given) for module in (plain, eager)]
    for generation in written:
        assert rows(generation) == expected
        assert generation.ended.tolist() == ended
        past = ~generation.mask
        assert not generation.ids[past].any()
        assert not generation.engine_logprobs[past].any()
    torch.testing.assert_close(written[0].engine_logprobs, written[1].engine_logprobs, atol=1e-4, rtol=0)


def test_the_options_matter(folder_of, make_policy, given):
    policy = make_policy(folder_of("llama"))
    written = {name: rows(eager.make(policy, sampling).generate(*given)) for name, sampling in OPTIONS.items()}
    limits = given[1].tolist()
    assert [len(row) for row in written["as it is"]] == limits  # only the limit ends a response
    assert any(row[-1] in STOPS and len(row) < limit for row, limit in zip(written["stops"], limits, strict=True))
    assert len({str(row) for row in written.values()}) == len(OPTIONS)


@pytest.mark.parametrize("module", [plain, eager])
@pytest.mark.parametrize("name", ["stops", "hot, top 5"])
def test_the_engine_s_logprobs_are_the_trainer_s(model_folder, make_policy, given, module, name):
    sampling, policy = OPTIONS[name], make_policy(model_folder)
    prompts, _, _ = given
    made = module.make(policy, sampling).generate(*given)
    responses = Responses(made.ids, made.lengths, made.ended, made.engine_logprobs, texts=["r"] * len(made.ids))
    with torch.no_grad():
        read = policy.read(prompts, responses, temperature=sampling.temperature)
    torch.testing.assert_close(made.engine_logprobs, read.logprobs, atol=1e-4, rtol=0)
    assert made.engine_logprobs[made.mask].std() > 0.1


@pytest.mark.parametrize("module", [plain, eager])
def test_splitting_ordering_and_padding_change_nothing(model_folder, make_policy, given, module):
    policy = make_policy(model_folder)
    prompts, limits, uniforms = given
    engine = module.make(policy, OPTIONS["stops"])
    whole = engine.generate(*given)
    for chosen in ([0], [4, 1], [5, 4, 3, 2, 1, 0]):
        index = torch.tensor(chosen)
        part = engine.generate(prompts.rows(index), limits[index], uniforms[index])
        assert rows(part) == rows(whole.rows(index))
        torch.testing.assert_close(part.engine_logprobs, whole.rows(index).engine_logprobs, atol=1e-4, rtol=0)
    wide = torch.cat([prompts.ids, torch.full((len(prompts), 3), 50)], dim=1)
    wide = wide.masked_fill(torch.arange(10) >= prompts.lengths[:, None], 1)
    padded = engine.generate(Prompts(prompts.texts, wide, prompts.lengths), limits, uniforms)
    assert rows(padded) == rows(whole)


@pytest.mark.parametrize("module", [plain, eager])
def test_numbers_past_a_response_s_end_change_nothing(folder_of, make_policy, given, module):
    policy = make_policy(folder_of("gpt2"))
    prompts, limits, uniforms = given
    engine = module.make(policy, OPTIONS["stops"])
    whole = engine.generate(*given)
    other = torch.where(whole.mask, uniforms, 1 - uniforms)
    assert rows(engine.generate(prompts, limits, other)) == rows(whole)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.1])
def test_when_rows_leave_the_batch_changes_nothing(folder_of, make_policy, given, monkeypatch, share):
    policy = make_policy(folder_of("qwen2"))
    expected = eager.make(policy, OPTIONS["stops"]).generate(*given)
    monkeypatch.setattr(eager, "DONE_SHARE", share)
    found = eager.make(policy, OPTIONS["stops"]).generate(*given)
    assert rows(found) == rows(expected)


@pytest.mark.parametrize("module", [plain, eager])
def test_engines_follow_the_weights_as_they_are_now(folder_of, make_policy, given, module):
    policy = make_policy(folder_of("llama"), "lora")
    engine = module.make(policy, OPTIONS["as it is"])
    before = rows(engine.generate(*given))
    with torch.no_grad():
        for name, parameter in policy.trainable().items():
            if "lora_B" in name:
                parameter.fill_(0.2)
    after = rows(engine.generate(*given))
    assert after != before
    with policy.switch():
        assert rows(engine.generate(*given)) == before  # the starting policy writes what it wrote


@pytest.mark.parametrize("module", [plain, eager])
def test_generation_leaves_no_gradient_and_no_trace(folder_of, make_policy, given, module):
    policy = make_policy(folder_of("gpt2"))
    before = policy.model.lm.config._attn_implementation
    made = module.make(policy, OPTIONS["stops"]).generate(*given)
    assert not made.engine_logprobs.requires_grad
    assert policy.model.lm.config._attn_implementation == before
    assert all(p.grad is None for p in policy.trainable().values())


def test_a_model_that_cannot_be_packed_is_written_by_the_plain_engine(precision, given):
    sizes = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
    more = {"num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64, "sliding_window": 6}
    tokens = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    torch.manual_seed(5)
    lm = Gemma2ForCausalLM(Gemma2Config(**sizes, **more, **tokens, query_pre_attn_scalar=8))
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.15)
    policy = Policy(lm, ValueHead(32), precision)
    with pytest.raises(CannotPack):
        eager.make(policy, OPTIONS["stops"]).generate(*given)
    expected, ended = one_by_one(lm, given, OPTIONS["stops"])
    policy.use_padding()
    made = plain.make(policy, OPTIONS["stops"]).generate(*given)
    assert rows(made) == expected
    assert made.ended.tolist() == ended


# --- which engine


def test_auto_is_eager_on_a_cpu_and_plain_where_nothing_packs(folder_of, make_policy):
    policy = make_policy(folder_of("gpt2"))
    assert engine_name(policy, "auto") == "eager"
    assert engine_name(policy, "plain") == "plain"
    policy.use_padding()
    assert engine_name(policy, "auto") == engine_name(policy, "eager") == "plain"


def test_auto_is_compiled_where_the_policy_is(folder_of, make_policy):
    policy = make_policy(folder_of("gpt2"))
    assert engine_name(policy, "compiled") == "eager"  # a report's policy
    policy.compile()
    assert engine_name(policy, "auto") == engine_name(policy, "compiled") == "compiled"
    assert engine_name(policy, "eager") == "eager"


def test_the_engine_gets_the_config_s_sampling(folder_of, make_policy):
    policy = make_policy(folder_of("gpt2"))
    options = SamplingConfig(temperature=0.5, top_k=3, top_p=0.9, engine="plain")
    made = make_engine(policy, options, (0, 5))
    assert isinstance(made, plain.PlainEngine)
    assert made.sampling == Sampling(0.5, 3, 0.9, (0, 5))
    on = make_engine(policy, options.model_copy(update={"stop_at_eos": False, "engine": "auto"}), (0, 5))
    assert isinstance(on, eager.EagerEngine)
    assert on.sampling.stop_ids == ()
