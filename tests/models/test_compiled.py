"""The compiled reading says what the plain one says: numbers, gradients, and clear words where it cannot be."""

import os
import signal
import subprocess
import sys
from uuid import uuid4

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor import config as inductor

from appliance.errors import ConfigError
from appliance.models import amx, fusing, token_model
from appliance.models.graphs import _compiler_alone, in_one_order, require_compiler
from appliance.models.policy import Policy
from appliance.models.precision import Precision

PROMPTS, RESPONSES = [7, 1, 3, 5], [9, 4, 1, 6]
OTHER = [2, 6, 4, 4, 1], [3, 8, 11, 2, 5]
SHARED = [2, 2, 2], [5, 5, 5]  # as many prompt tokens as sequences with a token, and every row alike


def read(policy: Policy, data) -> tuple[torch.Tensor, torch.Tensor]:
    found = policy.read(*data, temperature=0.8)
    assert found.values is not None
    return found.logprobs, found.values


def with_gradients(policy: Policy, data) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Log-probabilities and values, and the gradients of a weighted sum of them."""
    with policy.computing():
        logprobs, values = read(policy, data)
        weights = torch.linspace(-1, 1, logprobs.numel()).view_as(logprobs)
        (weights * logprobs + (weights * values).square()).sum().backward()
    gradients = {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}
    for p in policy.trainable().values():
        p.grad = None
    return [logprobs.detach(), values.detach()], gradients


def assert_alike(plain: Policy, compiled: Policy, data) -> None:
    """The numbers, the gradients and the reference's numbers of one batch."""
    (expected, wanted), (found, got) = with_gradients(plain, data), with_gradients(compiled, data)
    for theirs, mine in zip(expected, found, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=0)
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    references = (policy.read_reference(*data, temperature=0.8) for policy in (compiled, plain))
    torch.testing.assert_close(*references, atol=2e-5, rtol=0)


@pytest.fixture(scope="module")
def pairs(folder_of, make_policy, compiler):
    """pairs(architecture, train): two policies of the same weights, the second of them compiled; once a module."""
    made = {}

    def pair(architecture: str, train: str) -> tuple[Policy, Policy]:
        if (architecture, train) not in made:
            plain, compiled = (make_policy(folder_of(architecture), train) for _ in range(2))
            compiled.compile()
            made[architecture, train] = plain, compiled
        return made[architecture, train]

    return pair


@pytest.mark.parametrize(
    ("architecture", "train"), [("gpt2", "full"), ("gpt2", "lora"), ("llama", "full"), ("qwen2", "full")]
)
def test_the_numbers_and_gradients_are_those_of_the_plain_reading_at_every_length(
    architecture, train, pairs, sequences, disturb
):
    plain, compiled = pairs(architecture, train)
    for policy in (plain, compiled):
        torch.manual_seed(0)
        disturb(policy)
    graphs = []
    for lengths in ((PROMPTS, RESPONSES), OTHER, SHARED):
        data = sequences(*lengths)
        assert_alike(plain, compiled, data)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[1] == graphs[2]  # the second and third lengths went through what the first had made


@pytest.mark.parametrize("train", ["full", "lora"])
def test_with_products_on_amx_it_says_the_same(
    train, folder_of, make_policy, sequences, disturb, compiler, monkeypatch
):
    if not amx.load():
        pytest.skip("this CPU, or its compiler, has no AMX")
    monkeypatch.setattr(amx, "SMALLEST", 4)  # such small models have no wide products
    monkeypatch.setattr(fusing.Rewriting, "uuid", lambda self: str(uuid4()))  # torch keeps nothing of it
    taken = []
    monkeypatch.setattr(fusing, "take_products", lambda graph: (amx.take_products(graph), taken.append(graph)))
    plain, compiled = (make_policy(folder_of("gpt2"), train) for _ in range(2))
    compiled.compile()
    for policy in (plain, compiled):
        torch.manual_seed(0)
        disturb(policy)
    for lengths in ((PROMPTS, RESPONSES), OTHER):
        assert_alike(plain, compiled, sequences(*lengths))
    assert all(graph.find_nodes(op="call_function", target=torch.ops.appliance.product.default) for graph in taken)
    assert len(taken) >= 2  # forward and backward


def test_a_rollout_reads_the_same_numbers_as_training(pairs, sequences):
    _, compiled = pairs("gpt2", "full")
    data = sequences(PROMPTS, RESPONSES)
    training = read(compiled, data)
    with torch.no_grad():
        rollout = read(compiled, data)
    for mine, theirs in zip(rollout, training, strict=True):
        assert not mine.requires_grad
        assert theirs.requires_grad
        assert torch.equal(mine, theirs)


def test_logits_that_are_too_many_stay_out_of_the_graph(pairs, sequences, monkeypatch):
    _, compiled = pairs("gpt2", "full")
    data = sequences(PROMPTS, RESPONSES)
    whole, gradients = with_gradients(compiled, data)
    monkeypatch.setattr(token_model, "CHUNK_BYTES", 4)
    graphs = []
    monkeypatch.setattr(compiled.model.compiled, "_whole_graph", graphs.append)
    chunked, others = with_gradients(compiled, data)
    assert graphs == []
    for mine, theirs in zip(chunked, whole, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=2e-4, rtol=1e-3)


def test_entropies_have_a_gradient_where_they_are_learned_from(folder_of, make_policy, sequences, disturb, compiler):
    policies = [make_policy(folder_of("gpt2")) for _ in range(3)]
    policies[1].compile(learn_entropy=True)
    policies[2].compile()
    entropies, gradients = [], []
    for policy in policies:
        disturb(policy)
        with policy.computing():
            found = policy.read(*sequences(*OTHER), temperature=1.0, with_entropy=True)
            entropies.append(found.entropy)
            (found.entropy.sum() + 0.3 * found.logprobs.sum()).backward()
        gradients.append({name: p.grad for name, p in policy.trainable().items() if p.grad is not None})
    for entropy in entropies[1:]:
        torch.testing.assert_close(entropy, entropies[0], atol=2e-5, rtol=0)
    assert not entropies[2].requires_grad
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=2e-4, rtol=1e-3)
    assert not torch.allclose(
        gradients[2]["policy.transformer.wte.weight"], gradients[0]["policy.transformer.wte.weight"]
    )


@pytest.fixture
def two_threads():
    """As on most machines; the tests have one."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_with_several_threads_the_gradient_of_an_embedding_is_the_same_every_time(compiler, two_threads):
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(97, 32, generator=generator, requires_grad=True)
    ids, scale = torch.randint(0, 97, (4096,), generator=generator), torch.randn(4096, 32, generator=generator)
    looked_up = torch.compile(lambda w: (torch.nn.functional.embedding(ids, w) * scale).sum(), fullgraph=True)
    with in_one_order():  # each word is met about forty times
        gradients = [torch.autograd.grad(looked_up(weight), weight)[0] for _ in range(20)]
    assert all(torch.equal(again, gradients[0]) for again in gradients[1:])


def test_in_bf16_it_stays_within_the_tolerance(folder_of, make_policy, sequences, compiler):
    plain = make_policy(folder_of("gpt2"))
    rounded = make_policy(folder_of("gpt2"))
    rounded.precision = Precision(torch.device("cpu"), "bf16")
    rounded.compile()
    data = sequences(PROMPTS, RESPONSES)
    with torch.no_grad():
        gap = float((read(rounded, data)[0] - read(plain, data)[0]).abs().max())
    assert 1e-5 < gap < 0.2  # bf16 keeps 8 bits, and these weights are large


def test_what_is_not_compiled_is_refused(folder_of, make_policy):
    top = make_policy(folder_of("gpt2"), "top_layers", top_layers=1)
    with pytest.raises(ConfigError, match="trunk below the top layers"):
        top.compile()
    padded = make_policy(folder_of("gpt2"))
    padded.use_padding()
    with pytest.raises(ConfigError, match="read with padding"):
        padded.compile()
    elsewhere = make_policy(folder_of("gpt2"))
    elsewhere.precision = Precision(torch.device("cuda"), "fp32")
    with pytest.raises(ConfigError, match="the run is on the cuda"):
        elsewhere.compile()


def test_a_machine_without_a_compiler_is_told_what_to_install(compiler):
    torch.compiler.reset()
    with (
        inductor.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}),
        pytest.raises(ConfigError, match="cannot build a program") as raised,
    ):
        require_compiler()
    torch.compiler.reset()
    assert "g++" in raised.value.fix
    require_compiler()


def test_ctrl_c_does_not_reach_the_compiler_and_is_heard_by_the_run():
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    asked = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    try:
        with _compiler_alone():
            said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert said.strip() == "True"
    assert heard == [signal.SIGINT]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
