"""Log-probabilities and entropies of sampled tokens: against torch's own functions, and their gradients."""

import math

import pytest
import torch

from appliance.ppo.logprobs import head_logprobs, token_logprobs

TEMPERATURES = pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])


def drawn(rows=6, vocabulary=11, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(rows, vocabulary, generator=generator, dtype=dtype) * 3
    return logits, torch.randint(vocabulary, (rows,), generator=generator)


def test_by_hand():
    # softmax(log 1, log 2, log 5) = 1/8, 2/8, 5/8; H = .125 log 8 + .25 log 4 + .625 log 1.6 = .900256
    logits = torch.tensor([[1.0, 2.0, 5.0]]).log()
    logprobs, entropy = token_logprobs(logits, torch.tensor([1]), with_entropy=True)
    assert float(logprobs) == pytest.approx(math.log(0.25), abs=1e-6)
    assert float(entropy) == pytest.approx(0.900256, abs=1e-5)
    # temperature .5 squares the odds: 1, 4, 25 of 30
    assert float(token_logprobs(logits, torch.tensor([1]), temperature=0.5)[0]) == pytest.approx(
        math.log(4 / 30), abs=1e-6
    )


def test_entropy_of_a_uniform_choice_is_log_n():
    # NeMo-Aligner: four equal logits
    _, entropy = token_logprobs(torch.full((2, 4), 3.0), torch.tensor([0, 3]), with_entropy=True)
    torch.testing.assert_close(entropy, torch.full((2,), math.log(4)), atol=1e-6, rtol=0)


@TEMPERATURES
def test_equals_log_softmax_and_its_gradient(temperature):
    logits, targets = drawn()
    mine, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    logprobs, entropy = token_logprobs(mine, targets, temperature=temperature, with_entropy=True)
    log_p = (theirs / temperature).log_softmax(-1)
    wanted, wanted_entropy = log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)
    torch.testing.assert_close(logprobs, wanted, atol=1e-12, rtol=0)
    torch.testing.assert_close(entropy, wanted_entropy, atol=1e-12, rtol=0)
    weights = torch.linspace(-1, 2, len(targets), dtype=torch.float64)
    ((logprobs * weights).sum() + (entropy * weights.flip(0)).sum()).backward()
    ((wanted * weights).sum() + (wanted_entropy * weights.flip(0)).sum()).backward()
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-12, rtol=0)


@TEMPERATURES
@pytest.mark.parametrize("with_entropy", [False, True])
def test_gradient_equals_finite_differences(temperature, with_entropy):
    logits, targets = drawn(rows=3, vocabulary=5)

    def of(x):
        logprobs, entropy = token_logprobs(x, targets, temperature=temperature, with_entropy=with_entropy)
        return logprobs, entropy if with_entropy else logprobs

    assert torch.autograd.gradcheck(of, (logits.requires_grad_(),))


def test_without_entropy_it_is_zero():
    logits, targets = drawn()
    assert not token_logprobs(logits, targets)[1].any()


def test_half_precision_logits_are_summed_in_fp32():
    logits, targets = drawn(vocabulary=500, dtype=torch.float32)
    narrow = logits.bfloat16().requires_grad_()
    logprobs, entropy = token_logprobs(narrow, targets, with_entropy=True)
    exact = narrow.detach().double().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    assert logprobs.dtype == entropy.dtype == torch.float32
    torch.testing.assert_close(logprobs.double(), exact, atol=1e-5, rtol=0)
    logprobs.sum().backward()
    assert narrow.grad.dtype == torch.bfloat16


def test_huge_logits_do_not_overflow():
    logprobs, entropy = token_logprobs(torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([0]), with_entropy=True)
    assert float(logprobs) == 0.0
    assert float(entropy) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("rows_at_a_time", [1, 2, 4, 100])
def test_chunks_change_neither_numbers_nor_gradients(rows_at_a_time):
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(11, 4, generator=generator, dtype=torch.float64)
    hidden = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(11, (6,), generator=generator)
    seen = []

    def read(chunk_bytes):
        inputs, matrix = hidden.clone().requires_grad_(), weight.clone().requires_grad_()

        def head(part):
            seen.append(len(part))
            return part @ matrix.T

        options = {"vocabulary": 11, "temperature": 0.7, "with_entropy": True, "chunk_bytes": chunk_bytes}
        logprobs, entropy = head_logprobs(head, inputs, targets, **options)
        (logprobs.sum() + 0.3 * entropy.square().sum()).backward()
        return logprobs.detach(), entropy.detach(), inputs.grad, matrix.grad

    whole = read(10**9)
    seen.clear()
    for found, wanted in zip(read(4 * 11 * rows_at_a_time), whole, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    assert max(seen) == min(rows_at_a_time, 6)


def test_chunks_without_gradients_read_each_row_once():
    seen = []

    def head(part):
        seen.append(len(part))
        return part

    with torch.no_grad():
        options = {"vocabulary": 5, "temperature": 1.0, "with_entropy": False, "chunk_bytes": 40}
        head_logprobs(head, torch.randn(5, 5), torch.zeros(5, dtype=torch.long), **options)
    assert seen == [2, 2, 1]
