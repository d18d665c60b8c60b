"""Encoder-decoders: the decoder's start token chooses the first token, padding changes nothing, the reference stays."""

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from appliance.errors import DataError, ModelError
from appliance.models.loading import load_policy_model
from appliance.models.seq2seq import Seq2SeqModel, token_model
from appliance.models.tokens import TokenizedPrompts, check_context, context_tokens, decoder
from appliance.ppo import logprobs as reading
from appliance.ppo.invariants import settle_reading
from appliance.ppo.rollout import evaluate
from appliance.ppo.types import Prompts, Responses

PROMPTS, RESPONSES = [7, 1, 3, 5], [9, 4, 1, 6]


def by_hand(folder, prompts, responses, temperature):
    """log-probs of each row from transformers' model and nothing of ours, one unpadded row at a time; dropout is off."""
    lm = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    rows = []
    for row, (p, r) in enumerate(zip(prompts.lengths.tolist(), responses.lengths.tolist(), strict=True)):
        asked = torch.tensor([[*prompts.ids[row, :p].tolist(), 0]])  # 0 is the end token, which tokenizers of both add
        given = torch.tensor([[lm.config.decoder_start_token_id, *responses.ids[row, : r - 1].tolist()]])
        ones = torch.ones_like(given)
        logits = lm(input_ids=asked, decoder_input_ids=given, decoder_attention_mask=ones).logits[0]
        log_p = (logits / temperature).log_softmax(-1)
        rows.append(log_p.gather(1, responses.ids[row, :r, None])[:, 0])
    return lm, rows


def test_every_token_s_log_prob_is_the_teacher_forced_model_s(encoder_decoder, make_policy, sequences):
    data = sequences(PROMPTS, RESPONSES)
    policy = make_policy(encoder_decoder)
    found = policy.read(*data, temperature=0.8, with_entropy=True)
    _, expected = by_hand(encoder_decoder, *data, 0.8)
    for row, wanted in enumerate(expected):
        torch.testing.assert_close(found.logprobs[row, : len(wanted)], wanted, atol=1e-5, rtol=0)
        assert not found.logprobs[row, len(wanted) :].any()
    assert found.entropy[data[1].mask].min() > 0


def test_the_first_decoded_token_is_trained(encoder_decoder, make_policy, sequences):
    """A loss on it alone has the gradient of log p(first token | start token), in the decoder and in the encoder."""
    prompts, responses = sequences([4], [3])
    policy = make_policy(encoder_decoder)
    found = policy.read(prompts, responses, temperature=1.0)
    found.logprobs[0, 0].backward()
    lm, expected = by_hand(encoder_decoder, prompts, responses, 1.0)
    expected[0][0].backward()
    torch.testing.assert_close(found.logprobs[0, 0], expected[0][0], atol=1e-6, rtol=0)
    wanted = {name: p.grad for name, p in lm.named_parameters() if p.grad is not None}
    ours = {name: p.grad for name, p in policy.model.lm.named_parameters() if p.grad is not None}
    moved = {name for name, grad in ours.items() if float(grad.abs().max()) > 1e-4}
    assert any("encoder" in name for name in moved)
    assert any("decoder" in name for name in moved)
    for name, grad in wanted.items():
        torch.testing.assert_close(ours[name], grad, atol=1e-5, rtol=1e-4, msg=name)


def test_each_value_is_of_the_state_before_its_token(encoder_decoder, make_policy, sequences):
    """values[:, t] depends on the tokens before t and on no other; values[:, 0] on the prompt alone."""
    prompts, responses = sequences([4, 3], [6, 6])
    policy = make_policy(encoder_decoder)
    before = policy.read(prompts, responses, temperature=1.0).values
    ids = responses.ids.clone()
    ids[:, 2] = (ids[:, 2] + 1) % 90 + 2
    after = policy.read(
        prompts,
        Responses(ids, responses.lengths, responses.ended, responses.engine_logprobs, ["", ""]),
        temperature=1.0,
    ).values
    torch.testing.assert_close(after[:, :3], before[:, :3], atol=1e-6, rtol=0)
    assert (after[:, 3:] - before[:, 3:]).abs().min() > 1e-5
    with torch.no_grad():
        policy.critic.weight.zero_()
        policy.critic.weight[5] = 1.0
    states = []
    handle = policy.model.lm.get_decoder().register_forward_hook(lambda *a: states.append(a[2].last_hidden_state))
    found = policy.read(prompts, responses, temperature=1.0).values
    handle.remove()
    # the decoder's own last state, not what T5's scaling by d_model ** -0.5 leaves of it for the head
    torch.testing.assert_close(found, states[0][..., 5] + policy.critic.bias, atol=1e-6, rtol=0)


@torch.no_grad()
def test_padding_and_batches_change_nothing(encoder_decoder, make_policy, sequences, chunk):
    prompts, responses = sequences(PROMPTS, RESPONSES)
    policy = make_policy(encoder_decoder)
    whole = policy.read(prompts, responses, temperature=0.7)
    for size in (1, 3, 8):
        rollout = evaluate(policy, prompts, responses, temperature=0.7, chunk=chunk(size))
        torch.testing.assert_close(rollout.logprobs, whole.logprobs, atol=1e-5, rtol=0)
        torch.testing.assert_close(rollout.values, whole.values, atol=1e-5, rtol=0)
        torch.testing.assert_close(rollout.ref_logprobs, whole.logprobs, atol=1e-5, rtol=0)
    wide = torch.cat([prompts.ids, torch.full((4, 5), 33)], dim=1)
    garbage = torch.where(torch.arange(12) < prompts.lengths[:, None], wide, 51)
    longer = torch.cat([responses.ids, torch.full((4, 4), 17)], dim=1)
    padded = policy.read(
        Prompts(prompts.texts, garbage, prompts.lengths),
        Responses(longer, responses.lengths, responses.ended, torch.zeros(4, 13), responses.texts),
        temperature=0.7,
    )
    torch.testing.assert_close(padded.logprobs[:, :9], whole.logprobs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_log_probs_in_chunks_are_the_same(encoder_decoder, make_policy, sequences, monkeypatch):
    data = sequences(PROMPTS, RESPONSES)
    policy = make_policy(encoder_decoder)
    whole = policy.read(*data, temperature=0.7, with_entropy=True)
    sizes = []
    plain = reading.token_logprobs

    def counted(logits, *args, **more):
        sizes.append(len(logits))
        return plain(logits, *args, **more)

    monkeypatch.setattr(reading, "token_logprobs", counted)
    monkeypatch.setitem(reading.head_logprobs.__kwdefaults__, "chunk_bytes", 4 * 97 * 6)
    parts = policy.read(*data, temperature=0.7, with_entropy=True)
    assert sizes == [6, 6, 6, 2]  # the 20 response tokens, and no prompt or padding
    torch.testing.assert_close(parts.logprobs, whole.logprobs, atol=1e-6, rtol=0)
    torch.testing.assert_close(parts.entropy, whole.entropy, atol=1e-6, rtol=0)


@pytest.mark.parametrize("train", ["full", "lora"])
@torch.no_grad()
def test_the_reference_is_the_starting_model_before_and_after_training(
    encoder_decoder, train, make_policy, sequences, disturb
):
    data = sequences(PROMPTS, RESPONSES)
    policy = make_policy(encoder_decoder, train)
    before, reference = policy.read(*data, temperature=0.8).logprobs, policy.read_reference(*data, temperature=0.8)
    assert torch.equal(before, reference)  # ratio 1 and KL 0; dropout is 0.1 in the configs
    disturb(policy)
    assert (policy.read(*data, temperature=0.8).logprobs - before).abs().max() > 0.05
    assert torch.equal(policy.read_reference(*data, temperature=0.8), reference)
    if train == "lora":
        names = [name for name in policy.trainable() if name.startswith("policy.")]
        assert any("encoder" in name for name in names)
        assert any("decoder" in name for name in names)
        assert policy.reference is policy.model


def test_only_the_top_layers_cannot_be_trained(encoder_decoder, make_policy):
    with pytest.raises(ModelError, match="encoder-decoder, has no one stack for") as caught:
        make_policy(encoder_decoder, "top_layers")
    assert "train: lora" in caught.value.fix


def test_it_is_never_read_packed_and_nothing_is_said_of_it(encoder_decoder, make_policy, sequences):
    policy = make_policy(encoder_decoder)
    assert policy.seq2seq
    assert not policy.packs
    assert settle_reading(policy, sequences([3], [4])[0], 4) is None
    with pytest.raises(NotImplementedError):
        policy.model.packed(None, temperature=1.0, with_entropy=False)


def test_a_decoder_that_does_not_say_how_it_begins_is_refused(folder_of):
    lm = load_policy_model(str(folder_of("t5")), None).model
    lm.config.decoder_start_token_id = None
    assert Seq2SeqModel(lm).start == 1  # the generation config still says it
    lm.generation_config.decoder_start_token_id = None
    with pytest.raises(ModelError, match="does not say which token its decoder begins with"):
        Seq2SeqModel(lm)


@pytest.mark.parametrize(("end", "expected"), [(0, [5, 6, 0]), ([9, 0], [5, 6, 9]), (None, [5, 6])])
def test_the_encoder_s_input_ends_as_the_model_says(folder_of, end, expected):
    lm = load_policy_model(str(folder_of("t5")), None).model
    lm.config.eos_token_id = end
    ids, mask = token_model(lm).prompts(Prompts(["", ""], torch.tensor([[5, 6], [7, 9]]), torch.tensor([2, 1])))
    assert ids[0].tolist() == expected
    assert mask.sum(1).tolist() == [len(expected), len(expected) - 1]


# --- texts and lengths


def test_a_response_s_text_is_read_alone(folder_of, tokenizer):
    lm = load_policy_model(str(folder_of("t5")), None).model
    decode = decoder(tokenizer, lm)
    # w0 is token 2, w1 3, w10 4; 0 ends a text
    assert decode([[2, 3], [2]], [[4, 3, 0], [4]]) == ["w10 w1", "w10"]
    gpt2 = load_policy_model(str(folder_of("gpt2")), None).model
    assert decoder(tokenizer, gpt2)([[2, 3]], [[4, 3, 0]]) == [" w10 w1"]  # what it adds to the prompt


def test_prompt_and_response_are_each_held_to_the_model_s_positions(folder_of):
    bart = load_policy_model(str(folder_of("bart")), None).model
    assert context_tokens(bart) == 64
    fits = TokenizedPrompts(["a", "b"], [[2] * 63, [3]], [])  # with its end token 64
    check_context(fits, 64, bart, origin="p.txt")
    with pytest.raises(DataError) as caught:
        check_context(TokenizedPrompts(["a", "b"], [[2] * 64, [3]], []), 8, bart, origin="p.txt")
    assert caught.value.what.startswith("p.txt: 1 of 2 prompts are too long, the longest with 65 tokens ('a'...)")
    assert "[2, 63]" in caught.value.fix
    with pytest.raises(DataError, match="65 tokens of response, but the model's decoder writes at most 64"):
        check_context(fits, 65, bart, origin="p.txt")


def test_relative_positions_have_no_end(folder_of):
    t5 = load_policy_model(str(folder_of("t5")), None).model
    assert context_tokens(t5) is None
    check_context(TokenizedPrompts(["a"], [[2] * 5000], []), 900, t5, origin="p.txt")


def test_other_decoders_are_what_they_were(folder_of):
    lm = load_policy_model(str(folder_of("gpt2")), None).model
    assert not token_model(lm).seq2seq
    assert token_model(lm).packs
