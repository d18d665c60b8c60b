"""Tiny models of seven architectures with one tokenizer, saved as folders; prompts, responses and policies made of them.

No folder is written twice in a session and no test may change one. Dropout is left at 0.1 where the architecture has
it, and every weight is far from zero, so that a wrong mask, position or scale shows in the fourth digit or earlier.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from appliance.config import PpoConfig
from appliance.errors import ConfigError
from appliance.models.build import build_policy
from appliance.models.graphs import require_compiler
from appliance.models.policy import Policy
from appliance.models.precision import Precision
from appliance.ppo.memory import ChunkSize
from appliance.ppo.rollout import evaluate
from appliance.ppo.types import Batch, Prompts, Responses

torch.set_num_threads(1)

VOCABULARY = 97
SHARED = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
GROUPED = SHARED | {"intermediate_size": 48, "num_key_value_heads": 2, "attention_dropout": 0.1}


def _gpt2() -> PreTrainedModel:
    sizes = {"vocab_size": VOCABULARY, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
    dropout = {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1}
    return GPT2LMHeadModel(GPT2Config(**sizes, **dropout, bos_token_id=0, eos_token_id=0))


def _opt() -> PreTrainedModel:
    return OPTForCausalLM(
        OPTConfig(**SHARED, ffn_dim=48, word_embed_proj_dim=32, pad_token_id=1, dropout=0.1, attention_dropout=0.1)
    )


def _gpt_neox() -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SHARED, intermediate_size=48, hidden_dropout=0.1, attention_dropout=0.1))


def _llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**GROUPED))


def _qwen2() -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(**GROUPED))


def _t5() -> PreTrainedModel:
    """As flan-t5: gated, its head tied to the embeddings and scaled; more decoder blocks than encoder blocks."""
    sizes = {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4}
    blocks = {"num_layers": 2, "num_decoder_layers": 3, "feed_forward_proj": "gated-gelu", "dropout_rate": 0.1}
    distances = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 16}
    tokens = {"eos_token_id": 0, "pad_token_id": 1, "decoder_start_token_id": 1}
    return T5ForConditionalGeneration(T5Config(**sizes, **blocks, **distances, **tokens))


def _bart() -> PreTrainedModel:
    sizes = {"vocab_size": VOCABULARY, "d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    blocks = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    tokens = {"bos_token_id": 2, "eos_token_id": 0, "pad_token_id": 1, "decoder_start_token_id": 0}
    model = BartForConditionalGeneration(
        BartConfig(**sizes, **blocks, **tokens, max_position_embeddings=64, attention_dropout=0.1)
    )
    model.final_logits_bias = torch.linspace(-1, 1, VOCABULARY)[None]
    return model


BUILDERS: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": _gpt2,
    "opt": _opt,
    "gpt_neox": _gpt_neox,
    "llama": _llama,
    "qwen2": _qwen2,
}


SEQ2SEQ: dict[str, Callable[[], PreTrainedModel]] = {"t5": _t5, "bart": _bart}
"""Encoder-decoders: `architecture` leaves them out, since nothing of them is packed."""


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """97 whole words split at spaces, <eos> first (number 0); there is no pad token."""
    words = [f"w{i}" for i in range(VOCABULARY - 2)]
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.train_from_iterator(
        [" ".join(words)], trainers.WordLevelTrainer(vocab_size=VOCABULARY, special_tokens=["<eos>", "<unk>"])
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>", unk_token="<unk>")


def scatter_weights(model: torch.nn.Module, seed: int) -> None:
    """Add noise of std 0.15 to every weight, biases and norms included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.15)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Callable[[str], Path]:
    """folder_of("gpt2"): the folder of a saved tiny model with its tokenizer; the architectures are BUILDERS and SEQ2SEQ."""
    root, made = tmp_path_factory.mktemp("models"), {}

    def folder(name: str) -> Path:
        if name not in made:
            torch.manual_seed(len(name))
            model = (BUILDERS | SEQ2SEQ)[name]()
            scatter_weights(model, seed=7)
            model.save_pretrained(root / name)
            tokenizer.save_pretrained(root / name)
            made[name] = root / name
        return made[name]

    return folder


@pytest.fixture(params=BUILDERS)
def architecture(request: pytest.FixtureRequest) -> str:
    """Each of the five architectures in turn."""
    return request.param


@pytest.fixture(params=SEQ2SEQ)
def encoder_decoder(request: pytest.FixtureRequest, folder_of: Callable[[str], Path]) -> Path:
    """The saved tiny model of each encoder-decoder in turn."""
    return folder_of(request.param)


@pytest.fixture
def model_folder(architecture: str, folder_of: Callable[[str], Path]) -> Path:
    """The saved tiny model of `architecture`."""
    return folder_of(architecture)


@pytest.fixture(scope="session")
def precision() -> Precision:
    """fp32 on the CPU."""
    return Precision(torch.device("cpu"), "fp32")


@pytest.fixture(scope="session")
def ppo_config() -> Callable[..., PpoConfig]:
    """ppo_config(folder, section={...}): a PPO config of that model; sections as in YAML."""

    def config(folder: Path | str, **sections: Any) -> PpoConfig:
        policy = {"model": str(folder)} | sections.pop("policy", {})
        values = {"reward": {"source": "none"}, "prompts": {"source": "none.txt"}}
        return PpoConfig.model_validate(values | {"policy": policy} | sections)

    return config


@pytest.fixture(scope="session")
def make_policy(ppo_config: Callable[..., PpoConfig], precision: Precision) -> Callable[..., Policy]:
    """make_policy(folder, train="lora", ...): a policy whose value head is not zero; other keywords are sections."""

    def make(folder: Path, train: str = "full", *, critic: str | None = None, **policy: Any) -> Policy:
        chosen = {"kind": "separate", "model": critic} if critic else {}
        built, _ = build_policy(ppo_config(folder, policy={"train": train} | policy, critic=chosen), precision)
        scatter_weights(built.critic, seed=3)
        return built

    return make


@pytest.fixture(scope="session")
def sequences() -> Callable[..., tuple[Prompts, Responses]]:
    """sequences([7, 1], [9, 4]): random prompts and responses of these lengths, padded with random tokens."""

    def make(
        prompt_lengths: Sequence[int], response_lengths: Sequence[int], seed: int = 0
    ) -> tuple[Prompts, Responses]:
        generator = torch.Generator().manual_seed(seed)
        count, p, r = len(prompt_lengths), max(prompt_lengths), max(response_lengths)
        prompts = Prompts(
            ["p"] * count,
            torch.randint(2, VOCABULARY, (count, p), generator=generator),
            torch.tensor(prompt_lengths),
        )
        responses = Responses(
            ids=torch.randint(2, VOCABULARY, (count, r), generator=generator),
            lengths=torch.tensor(response_lengths),
            ended=torch.arange(count) % 2 == 0,
            engine_logprobs=torch.zeros(count, r),
            texts=["r"] * count,
        )
        return prompts, responses

    return make


@pytest.fixture
def chunk() -> Callable[..., ChunkSize]:
    """chunk(3): a ChunkSize that tells nobody, or `notice`."""

    def make(size: int, notice: Callable[[str], None] = lambda _: None) -> ChunkSize:
        return ChunkSize("the test", size, notice)

    return make


@pytest.fixture
def make_batch(chunk: Callable[..., ChunkSize]) -> Callable[..., Batch]:
    """make_batch(policy, prompts, responses): a real rollout with random scores, advantages and returns."""

    def make(policy: Policy, prompts: Prompts, responses: Responses, *, temperature: float = 1.0) -> Batch:
        rollout = evaluate(policy, prompts, responses, temperature=temperature, chunk=chunk(8))
        mask = responses.mask
        generator = torch.Generator().manual_seed(5)
        noise = [torch.where(mask, torch.randn(mask.shape, generator=generator), 0.0) for _ in range(3)]
        return Batch(rollout, torch.randn(len(mask), generator=generator), *noise, mask)

    return make


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skips where nothing can be built: an image without g++, or a Python without its headers."""
    try:
        require_compiler()
    except ConfigError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def disturb() -> Callable[[Policy], None]:
    """disturb(policy): every trainable weight moves by about 0.1, as after some optimizer steps."""

    def move(policy: Policy) -> None:
        generator = torch.Generator().manual_seed(17)
        with torch.no_grad():
            for parameter in policy.trainable().values():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)

    return move
