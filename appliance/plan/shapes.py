"""A model's sizes, and how many weights they make, by the formula of its architecture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Family:
    """What one architecture does that memory depends on. `lora` are the modules that peft adapts when none are named."""

    lora: tuple[str, ...] = ()
    rms: bool = False  # norms without a mean; written out, so that their parts are kept for the backward pass
    gated: bool = False  # a feed-forward of three matrices
    fused_qkv: bool = False  # one matrix makes queries, keys and values
    rotary: bool = False
    parallel: bool = False  # attention and feed-forward read one input
    packs: bool = True  # read without padding (see models/attention.py)
    explicit: bool = False  # attention of its own that multiplies everything out
    classifier: bool = False  # an encoder that only classifies


FAMILIES: dict[str, Family] = {
    "gpt2": Family(lora=("c_attn",), fused_qkv=True),
    "gpt_neo": Family(lora=("q_proj", "v_proj"), packs=False, explicit=True),
    "gpt_neox": Family(lora=("query_key_value",), fused_qkv=True, rotary=True, parallel=True),
    "opt": Family(lora=("q_proj", "v_proj")),
    "llama": Family(lora=("q_proj", "v_proj"), rms=True, gated=True, rotary=True),
    "qwen2": Family(lora=("q_proj", "v_proj"), rms=True, gated=True, rotary=True),
    "mistral": Family(lora=("q_proj", "v_proj"), rms=True, gated=True, rotary=True),
    "t5": Family(lora=("q", "v"), rms=True, packs=False),
    "bert": Family(classifier=True),
    "roberta": Family(classifier=True),
    "distilbert": Family(classifier=True),
}
"""By config.json's model_type."""


@dataclass(frozen=True)
class Matrix:
    """A linear layer of a block, under the name that LoRA's targets use."""

    name: str
    inputs: int
    outputs: int
    bias: bool

    @property
    def weights(self) -> int:
        """Without the bias."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Shape:
    """Sizes of one model. `positions` are rows of a learned table, 0 without one; `limit_tokens` is None without a limit.

    `decoder_layers` is 0 but for an encoder-decoder, whose `layers` are the encoder's. `counted` is the number of weights
    in the files, or None where they are not on this disk.
    """

    family: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    positions: int = 0
    limit_tokens: int | None = None
    gated: bool = False
    relu: bool = False
    tied: bool = True
    qkv_bias: bool = True
    bias: bool = True
    decoder_layers: int = 0
    embedding_width: int = 0  # of OPT-350m, whose embeddings are narrower; 0: hidden
    buckets: int = 0  # T5's relative positions
    types: int = 0  # BERT's token types
    dropout: bool = False
    attention_dropout: bool = False
    counted: int | None = None

    @property
    def kind(self) -> Family:
        """What is particular to the architecture."""
        return FAMILIES[self.family]

    @property
    def seq2seq(self) -> bool:
        """Whether an encoder reads the prompt."""
        return self.decoder_layers > 0

    @property
    def attention_width(self) -> int:
        """Numbers per token in the queries of one layer."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Numbers per token in the keys of one layer."""
        return self.kv_heads * self.head_dim

    @property
    def embedding(self) -> int:
        """Weights of the token embedding."""
        return self.vocab * (self.embedding_width or self.hidden)

    @property
    def parameters(self) -> int:
        """Weights of the language model, or of a classifier's trunk: those in the files, else by the formula."""
        return self.counted or self.formula

    @property
    def formula(self) -> int:
        """Weights by the architecture's formula, a language model's head included, a classifier's head not."""
        d = self.hidden
        norm = d * (1 if self.kind.rms else 2)
        total = self.embedding + self.positions * d + self.types * d + self.layers * self.block
        if self.kind.classifier:
            total += norm  # after the embeddings
            if self.family == "bert":
                total += d * d + d  # the pooler
            return total
        if self.embedding_width and self.embedding_width != d:
            total += 2 * self.embedding_width * d  # in and out of the blocks' width
        else:
            total += norm  # the last one
        if self.seq2seq:
            total += self.decoder_layers * self.decoder_block + norm + 2 * self.buckets * self.heads
        return total + (0 if self.tied else self.embedding)

    @property
    def block(self) -> int:
        """Weights of one block; of an encoder's for an encoder-decoder."""
        norms = 2 * (self.hidden if self.kind.rms else 2 * self.hidden)
        return sum(m.weights + (m.outputs if m.bias else 0) for m in self.matrices) + norms

    @property
    def decoder_block(self) -> int:
        """Weights of one block of an encoder-decoder's decoder: a second attention with its norm."""
        return self.block + sum(m.weights for m in self.matrices[:4]) + self.hidden

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """The linear layers of a block, attention first."""
        d, q, kv, f = self.hidden, self.attention_width, self.kv_width, self.ffn
        attention, up, down = _NAMES[self.family]
        outputs = (3 * d, d) if len(attention) == 2 else (q, kv, kv, d)
        made = [
            Matrix(name, d if i < len(attention) - 1 else q, out, self.bias if name in _OUT else self.qkv_bias)
            for i, (name, out) in enumerate(zip(attention, outputs, strict=True))
        ]
        ups = up if self.gated else up[:1]
        return (*made, *(Matrix(name, d, f, self.bias) for name in ups), Matrix(down, f, d, self.bias))

    @property
    def matrix_weights(self) -> int:
        """Weights of the linear layers of all blocks, biases and the head left out: what autocast casts, and bits shrink."""
        inner = self.layers * sum(m.weights for m in self.matrices)
        if self.seq2seq:
            inner += self.decoder_layers * (
                sum(m.weights for m in self.matrices) + sum(m.weights for m in self.matrices[:4])
            )
        return inner


_LLAMA = (("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj"), "down_proj")
_NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "gpt2": (("c_attn", "c_proj"), ("c_fc",), "c_proj"),
    "gpt_neo": (("q_proj", "k_proj", "v_proj", "out_proj"), ("c_fc",), "c_proj"),
    "gpt_neox": (("query_key_value", "dense"), ("dense_h_to_4h",), "dense_4h_to_h"),
    "opt": (("q_proj", "k_proj", "v_proj", "out_proj"), ("fc1",), "fc2"),
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "mistral": _LLAMA,
    "t5": (("q", "k", "v", "o"), ("wi_0", "wi_1"), "wo"),
    "bert": (("query", "key", "value", "dense"), ("dense",), "dense"),
    "roberta": (("query", "key", "value", "dense"), ("dense",), "dense"),
    "distilbert": (("q_lin", "k_lin", "v_lin", "out_lin"), ("lin1",), "lin2"),
}
"""Attention's linear layers, those up and the one down of the feed-forward."""

_OUT = {"c_proj", "out_proj", "dense", "o_proj", "o", "out_lin"}


def lora_weights(shape: Shape, rank: int, targets: tuple[str, ...] | None, last_layers: int | None) -> int:
    """Weights of the adapters: rank * (inputs + outputs) for every adapted layer."""
    names = targets or shape.kind.lora
    per_block = sum(rank * (m.inputs + m.outputs) for m in shape.matrices if m.name in names)
    if not shape.seq2seq:
        return per_block * min(shape.layers, last_layers or shape.layers)
    again = sum(rank * (m.inputs + m.outputs) for m in shape.matrices[:4] if m.name in names)
    decoder = min(shape.decoder_layers, last_layers or shape.decoder_layers)
    return decoder * (per_block + again) + (0 if last_layers else shape.layers * per_block)


def from_config(values: Mapping[str, Any], counted: int | None = None) -> Shape | None:
    """The shape that a config.json describes; None for an architecture that is not in FAMILIES. Raises KeyError, TypeError."""
    family = values.get("model_type")
    if family not in FAMILIES:
        return None
    read = {"gpt2": _gpt2, "gpt_neo": _gpt_neo, "t5": _t5, "distilbert": _distilbert}.get(family, _usual)
    return replace(read(str(family), values), counted=counted)


def _gpt2(family: str, v: Mapping[str, Any]) -> Shape:
    d, heads = int(v["n_embd"]), int(v["n_head"])
    return Shape(
        *(family, int(v["n_layer"]), d, heads, heads, d // heads, int(v.get("n_inner") or 4 * d)),
        vocab=int(v["vocab_size"]),
        positions=int(v.get("n_positions", 1024)),
        limit_tokens=int(v.get("n_positions", 1024)),
        relu=v.get("activation_function") == "relu",
        dropout=float(v.get("resid_pdrop", 0.1)) > 0,
        attention_dropout=float(v.get("attn_pdrop", 0.1)) > 0,
    )


def _gpt_neo(family: str, v: Mapping[str, Any]) -> Shape:
    d, heads = int(v["hidden_size"]), int(v["num_heads"])
    return Shape(
        *(family, int(v["num_layers"]), d, heads, heads, d // heads, int(v.get("intermediate_size") or 4 * d)),
        vocab=int(v["vocab_size"]),
        positions=int(v["max_position_embeddings"]),
        limit_tokens=int(v["max_position_embeddings"]),
        qkv_bias=False,
    )


def _t5(family: str, v: Mapping[str, Any]) -> Shape:
    act, heads, layers = str(v.get("feed_forward_proj", "relu")), int(v["num_heads"]), int(v["num_layers"])
    return Shape(
        *(family, layers, int(v["d_model"]), heads, heads, int(v["d_kv"]), int(v["d_ff"])),
        vocab=int(v["vocab_size"]),
        gated=act.startswith("gated"),
        relu=act.endswith("relu"),
        tied=bool(v.get("tie_word_embeddings", True)),
        qkv_bias=False,
        bias=False,
        decoder_layers=int(v.get("num_decoder_layers") or layers),
        buckets=int(v.get("relative_attention_num_buckets", 32)),
        dropout=float(v.get("dropout_rate", 0.1)) > 0,
    )


def _distilbert(family: str, v: Mapping[str, Any]) -> Shape:
    d, heads = int(v["dim"]), int(v["n_heads"])
    return Shape(
        *(family, int(v["n_layers"]), d, heads, heads, d // heads, int(v["hidden_dim"])),
        vocab=int(v["vocab_size"]),
        positions=int(v["max_position_embeddings"]),
        limit_tokens=int(v["max_position_embeddings"]),
        dropout=float(v.get("dropout", 0.1)) > 0,
        attention_dropout=float(v.get("attention_dropout", 0.1)) > 0,
    )


def _usual(family: str, v: Mapping[str, Any]) -> Shape:
    """Families whose config has the library's common names."""
    d, heads = int(v["hidden_size"]), int(v["num_attention_heads"])
    limit = int(v.get("max_position_embeddings") or 0)
    shape = Shape(
        family,
        layers=int(v["num_hidden_layers"]),
        hidden=d,
        heads=heads,
        kv_heads=int(v.get("num_key_value_heads") or heads),
        head_dim=int(v.get("head_dim") or d // heads),
        ffn=int(v["ffn_dim"] if family == "opt" else v["intermediate_size"]),
        vocab=int(v["vocab_size"]),
        limit_tokens=limit or None,
        gated=FAMILIES[family].gated,
    )
    if FAMILIES[family].rms:
        plain = bool(v.get("attention_bias", False))
        return replace(
            shape,
            tied=bool(v.get("tie_word_embeddings", False)),
            qkv_bias=family == "qwen2" or plain,
            bias=plain,
        )
    if family == "gpt_neox":
        return replace(shape, tied=bool(v.get("tie_word_embeddings", False)))
    dropout = any(float(v.get(key, 0.1)) > 0 for key in ("dropout", "hidden_dropout_prob") if key in v)
    between = any(float(v[key]) > 0 for key in ("attention_dropout", "attention_probs_dropout_prob") if key in v)
    shape = replace(shape, attention_dropout=between)
    if family == "opt":
        narrow = int(v.get("word_embed_proj_dim") or d)
        return replace(
            shape,
            positions=limit + 2,
            relu=v.get("activation_function", "relu") == "relu",
            embedding_width=narrow,
            dropout=dropout,
        )
    reads = limit - 2 if family == "roberta" else limit  # RoBERTa numbers positions from behind the pad token
    return replace(shape, positions=limit, limit_tokens=reads, types=int(v.get("type_vocab_size", 2)), dropout=dropout)
