"""Reading without padding gives the numbers of the model's own padded forward, whatever stands around a row."""

from dataclasses import replace

import pytest
import torch

from appliance.ppo.types import Prompts, Responses

TOLERANCE = 1e-5
PROMPTS, RESPONSES = [7, 1, 3, 5, 2], [9, 4, 1, 6, 9]
FIELDS = ("logprobs", "entropy", "values")


def read(policy, prompts, responses, temperature=0.7):
    return policy.read(prompts, responses, temperature=temperature, with_entropy=True)


def same(found, expected, tolerance=TOLERANCE):
    for name in FIELDS:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=tolerance, rtol=0)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_packed_reading_equals_the_padded_forward(model_folder, make_policy, sequences, temperature):
    policy = make_policy(model_folder)
    prompts, responses = sequences(PROMPTS, RESPONSES)
    packed = read(policy, prompts, responses, temperature)
    policy.use_padding()
    padded = read(policy, prompts, responses, temperature)
    same(packed, padded)
    assert packed.logprobs[responses.mask].std() > 0.3  # the model is far from uniform, so an error would show
    assert packed.values[responses.mask].std() > 0.1


@torch.no_grad()
def test_both_readings_equal_one_unpadded_forward_of_each_row(model_folder, make_policy, sequences):
    policy = make_policy(model_folder)
    prompts, responses = sequences(PROMPTS, RESPONSES)
    found = read(policy, prompts, responses, temperature=2.0)
    for row, (p, r) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        ids = torch.cat([prompts.ids[row, :p], responses.ids[row, :r]])[None]
        output = policy.model.lm(input_ids=ids, output_hidden_states=True)
        log_p = (output.logits[0, p - 1 : -1] / 2.0).log_softmax(-1)  # [r, V]
        expected = log_p.gather(1, responses.ids[row, :r, None])[:, 0]
        entropy = -(log_p.exp() * log_p).sum(-1)
        values = policy.critic(output.hidden_states[-1][0, p - 1 : -1])
        for name, wanted in zip(FIELDS, (expected, entropy, values), strict=True):
            torch.testing.assert_close(getattr(found, name)[row, :r], wanted, atol=TOLERANCE, rtol=0)
            assert not getattr(found, name)[row, r:].any()


@pytest.mark.parametrize("packs", [True, False])
def test_a_row_does_not_depend_on_its_batch_mates_or_their_order(model_folder, make_policy, sequences, packs):
    policy = make_policy(model_folder)
    if not packs:
        policy.use_padding()
    prompts, responses = sequences(PROMPTS, RESPONSES)
    whole = read(policy, prompts, responses)
    for rows in ([3], [4, 2], [2, 0, 4, 1, 3]):
        index = torch.tensor(rows)
        same(read(policy, prompts.rows(index), responses.rows(index)), whole.rows(index))


@pytest.mark.parametrize("packs", [True, False])
def test_width_and_content_of_padding_change_nothing(model_folder, make_policy, sequences, packs):
    policy = make_policy(model_folder)
    if not packs:
        policy.use_padding()
    prompts, responses = sequences(PROMPTS, RESPONSES)
    expected = read(policy, prompts, responses)
    for filler in (0, 1, 50):  # 0 is the end token, 1 is OPT's pad token
        wide = (torch.full((5, 4), filler), torch.full((5, 6), filler))
        p = torch.cat([prompts.ids, wide[0]], dim=1).masked_fill(torch.arange(11) >= prompts.lengths[:, None], filler)
        r = torch.cat([responses.ids, wide[1]], dim=1).masked_fill(
            torch.arange(15) >= responses.lengths[:, None], filler
        )
        found = read(policy, Prompts(prompts.texts, p, prompts.lengths), replace_ids(responses, r))
        assert not found.logprobs[:, 9:].any()
        for name in FIELDS:
            torch.testing.assert_close(
                getattr(found, name)[:, :9], getattr(expected, name), atol=TOLERANCE, rtol=0, msg=name
            )


def replace_ids(responses: Responses, ids: torch.Tensor) -> Responses:
    return replace(responses, ids=ids, engine_logprobs=torch.zeros(ids.shape))


def test_end_tokens_inside_a_response_are_tokens_like_others(model_folder, make_policy, sequences):
    policy = make_policy(model_folder)
    prompts, responses = sequences([4, 2], [6, 5])
    responses.ids[:, 2:] = 0  # the end token, which is also what a tokenizer without a pad token pads with
    prompts.ids[0, 1] = 0
    packed = read(policy, prompts, responses)
    assert packed.logprobs[responses.mask].ne(0).all()
    policy.use_padding()
    same(packed, read(policy, prompts, responses))


def test_packed_gradients_equal_padded_gradients(model_folder, make_policy, sequences):
    prompts, responses = sequences(PROMPTS, RESPONSES)
    gradients = []
    for packs in (True, False):
        policy = make_policy(model_folder)
        if not packs:
            policy.use_padding()
        found = read(policy, prompts, responses)
        weights = torch.linspace(-1, 1, found.logprobs.numel()).view_as(found.logprobs)
        (found.logprobs * weights + 0.1 * found.entropy + found.values.square()).sum().backward()
        gradients.append({name: p.grad for name, p in policy.trainable().items() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=2e-4, rtol=1e-4, msg=name)


def test_the_model_is_untouched_after_a_packed_reading(model_folder, make_policy, sequences):
    policy = make_policy(model_folder)
    before = policy.model.lm.config._attn_implementation
    read(policy, *sequences([3], [4]))
    assert policy.model.lm.config._attn_implementation == before
