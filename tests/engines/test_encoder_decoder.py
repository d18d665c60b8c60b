"""Encoder-decoders write the same tokens however the batch is made up; the encoder reads each prompt once."""

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from appliance.config.ppo import Sampling as SamplingConfig
from appliance.engines import _encoder_decoder, plain
from appliance.engines._choice import engine_name, make_engine
from appliance.engines._encoder_decoder import EncoderDecoderEngine
from appliance.engines._sampling import Sampling, draw
from appliance.ppo.types import Generation, Prompts

STOPS = tuple(range(30))
SAMPLING = Sampling(0.8, 0, 1.0, STOPS)


def rows(generation: Generation) -> list[list[int]]:
    return [ids[:n] for ids, n in zip(generation.ids.tolist(), generation.lengths.tolist(), strict=True)]


@torch.no_grad()
def one_by_one(folder, given) -> tuple[list[list[int]], list[list[float]]]:
    """Each response from whole unpadded forwards of transformers' model, without a cache."""
    lm = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    prompts, limits, uniforms = given
    found, said = [], []
    for row, length in enumerate(prompts.lengths.tolist()):
        asked = torch.tensor([[*prompts.ids[row, :length].tolist(), 0]])
        ids, logprobs = [lm.config.decoder_start_token_id], []
        for t in range(int(limits[row])):
            so_far = torch.tensor([ids])
            logits = lm(
                input_ids=asked, decoder_input_ids=so_far, decoder_attention_mask=torch.ones_like(so_far)
            ).logits[:, -1]
            token, logprob = draw(logits, uniforms[row : row + 1, t], SAMPLING)
            ids.append(int(token))
            logprobs.append(float(logprob))
            if int(token) in STOPS:
                break
        found.append(ids[1:])
        said.append(logprobs)
    return found, said


def test_it_writes_what_one_row_at_a_time_writes(encoder_decoder, make_policy, given):
    expected, said = one_by_one(encoder_decoder, given)
    made = plain.make(make_policy(encoder_decoder), SAMPLING).generate(*given)
    assert rows(made) == expected
    assert made.ended.tolist() == [row[-1] in STOPS for row in expected]
    assert int(made.ended.sum()) > 0
    assert len({len(row) for row in expected}) > 2
    for row, logprobs in enumerate(said):
        torch.testing.assert_close(
            made.engine_logprobs[row, : len(logprobs)], torch.tensor(logprobs), atol=1e-5, rtol=0
        )
    assert not made.ids[~made.mask].any()
    assert not made.engine_logprobs[~made.mask].any()


@pytest.mark.parametrize("train", ["full", "lora"])
def test_the_engine_s_logprobs_are_the_trainer_s(encoder_decoder, train, make_policy, given, disturb_lora):
    policy = make_policy(encoder_decoder, train)
    disturb_lora(policy)
    made = plain.make(policy, SAMPLING).generate(*given)
    with torch.no_grad():
        read = policy.read(given[0], made, temperature=SAMPLING.temperature)
    torch.testing.assert_close(made.engine_logprobs, read.logprobs, atol=1e-5, rtol=0)
    assert made.engine_logprobs[made.mask].std() > 0.1


@pytest.mark.parametrize("share", [0.0, 0.5, 1.1])
def test_splitting_ordering_padding_and_leaving_change_nothing(encoder_decoder, make_policy, given, monkeypatch, share):
    policy = make_policy(encoder_decoder)
    prompts, limits, uniforms = given
    whole = plain.make(policy, SAMPLING).generate(*given)
    monkeypatch.setattr(_encoder_decoder, "DONE_SHARE", share)
    engine = plain.make(policy, SAMPLING)
    for chosen in ([0], [4, 1], [5, 4, 3, 2, 1, 0]):
        index = torch.tensor(chosen)
        part = engine.generate(prompts.rows(index), limits[index], uniforms[index])
        assert rows(part) == rows(whole.rows(index))
        torch.testing.assert_close(part.engine_logprobs, whole.rows(index).engine_logprobs, atol=1e-5, rtol=0)
    wide = torch.cat([prompts.ids, torch.full((len(prompts), 3), 50)], dim=1)
    assert rows(engine.generate(Prompts(prompts.texts, wide, prompts.lengths), limits, uniforms)) == rows(whole)


def test_each_prompt_is_encoded_once(encoder_decoder, make_policy, given):
    policy = make_policy(encoder_decoder)
    encoded = []
    policy.model.lm.get_encoder().register_forward_hook(lambda *_: encoded.append(1))
    plain.make(policy, Sampling(1.0, 0, 1.0, ())).generate(*given)
    assert len(encoded) == 1


@pytest.mark.parametrize("asked", ["auto", "eager", "plain", "cuda_graph"])
def test_whatever_is_asked_for_an_encoder_decoder_has_one_engine(folder_of, make_policy, asked):
    policy = make_policy(folder_of("t5"))
    assert engine_name(policy, asked) == "plain"
    made = make_engine(policy, SamplingConfig(engine=asked), (0,))
    assert isinstance(made, EncoderDecoderEngine)
    assert made.sampling.stop_ids == (0,)
    assert (made.fallback is not None) == (asked == "cuda_graph")  # a run says it


@pytest.fixture
def disturb_lora():
    """disturb_lora(policy): adapters, if there are any, say something."""

    def fill(policy) -> None:
        with torch.no_grad():
            for name, parameter in policy.trainable().items():
                if "lora_B" in name:
                    parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))

    return fill
