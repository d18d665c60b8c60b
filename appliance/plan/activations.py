"""Bytes that a pass through a model holds besides its weights: what autograd keeps, and what is only passing through.

Each figure follows the operations of the engine one by one; tests/plan compares them with the storages that torch
really allocates.
"""

from dataclasses import dataclass

from appliance.plan.shapes import Shape

FP32 = 4
SHORT = 128
"""As in models/attention.py: up to this many tokens a CPU multiplies attention out and keeps its probabilities."""
CHUNK_BYTES = 256 * 2**20
"""As in ppo/logprobs.py: logits of more than this (as fp32) are made in chunks."""


@dataclass(frozen=True)
class Numbers:
    """Bytes of a number: `compute` of a matrix product's, `residual` of what runs from block to block, `norm` of a norm's.

    `cast` says that autocast turns a norm's output into the products' type for every product apart; `short` that
    attention is multiplied out.
    """

    compute: int
    residual: int
    norm: int
    cast: bool
    cpu: bool
    cpu_bf16: bool = False

    def short(self, width: int) -> bool:
        """Whether attention over `width` tokens is multiplied out."""
        return self.cpu and (width <= SHORT or self.cpu_bf16)


def numbers(*, cuda: bool, bf16: bool, halved: bool) -> Numbers:
    """The widths that training with these has; `halved`: the base weights are bf16. A CPU's bf16 keeps fp32 tensors."""
    if cuda and bf16:
        return Numbers(2, 2 if halved else FP32, FP32, cast=True, cpu=False)
    return Numbers(FP32, FP32, FP32, cast=False, cpu=not cuda, cpu_bf16=bf16)


@dataclass(frozen=True)
class Trained:
    """Which layers a backward pass goes through, and whether their own weights learn (else only `adapted` modules do)."""

    layers: int
    weights: bool
    adapted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Size:
    """`sequences` of `width` tokens each; `kept` tokens of each are responses, whose logits are wanted."""

    sequences: int
    width: int
    kept: int

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.sequences * self.width

    @property
    def wanted(self) -> int:
        """Rows of logits."""
        return self.sequences * self.kept


def saved_by_blocks(shape: Shape, size: Size, trained: Trained, n: Numbers, *, packed: bool) -> float:
    """Bytes that the blocks which a backward pass goes through leave for it."""
    norms, feed_forward = _norms(shape, trained, n), _feed_forward(shape, trained, n)
    each = norms + _attention(shape, size, trained, n, packed=packed) + feed_forward
    total = trained.layers * each
    if not trained.weights:  # before the first adapter nothing has a gradient, so nothing is kept for one
        total -= shape.hidden * n.norm
        if shape.kind.parallel and not any(m.name in trained.adapted for m in shape.matrices[2:]):
            total -= feed_forward
    return size.tokens * total


def _norms(shape: Shape, trained: Trained, n: Numbers) -> float:
    """Bytes a token: the two norms' inputs, what comes between, and the outputs as the products take them."""
    d = shape.hidden
    inputs = 1 if shape.kind.parallel else 2
    kept: float = inputs * d * n.norm
    if shape.kind.rms and trained.weights:
        kept += 2 * d * FP32  # the normalized numbers, for the gradient of the norm's weight
    readers = [[m.name for m in shape.matrices[: _attention_reads(shape)]], [m.name for m in _ups(shape)]]
    for names in readers:
        used = len(names) if trained.weights else sum(name in trained.adapted for name in names)
        copies = used if n.cast else min(1, used)  # one tensor serves all products where nothing is cast
        kept += copies * d * n.compute
    return kept


def _attention_reads(shape: Shape) -> int:
    return 1 if shape.kind.fused_qkv else 3


def _ups(shape: Shape) -> tuple:  # type: ignore[type-arg]
    return shape.matrices[2 if shape.kind.fused_qkv else 4 : -1]


def _attention(shape: Shape, size: Size, trained: Trained, n: Numbers, *, packed: bool) -> float:
    """Bytes a token: queries, keys and values as attention keeps them, its output, and what the last product reads."""
    q, kv = shape.attention_width, shape.kv_width
    out_name = shape.matrices[1 if shape.kind.fused_qkv else 3].name
    last = q * n.compute if trained.weights or out_name in trained.adapted else 0.0
    if shape.kind.explicit or (packed and n.short(size.width)):  # every head has keys of its own there
        return 3 * q * n.compute + shape.heads * size.width * n.compute + last
    repeated = q if shape.kv_heads != shape.heads else kv
    held = (q + 2 * repeated) * n.compute + q * n.compute + shape.heads * FP32
    if not packed:  # the output is laid out as the last product reads it
        return held + (shape.heads * size.width * n.compute if shape.buckets and trained.weights else 0)
    # Laid out from the row of tokens: what was laid out is kept too, in fp32 where rotation made it so.
    turned = n.residual if shape.kind.rotary else n.compute
    return held + (q + kv) * turned + kv * n.compute + last


def _feed_forward(shape: Shape, trained: Trained, n: Numbers) -> float:
    """Bytes a token: what the activation and the last product need again."""
    f = shape.ffn * n.compute
    down = trained.weights or shape.matrices[-1].name in trained.adapted
    if shape.gated:  # gate and up, the activated gate, and their product
        return (3 + down) * f
    return f if shape.relu else (1 + down) * f  # a ReLU's own output is all that it needs


def saved_at_the_end(shape: Shape, size: Size, trained: Trained, n: Numbers) -> float:
    """Bytes of the last norm with its output, the rotations' angles, and the hidden states that choose a token."""
    d = shape.hidden
    norm = d * n.norm + (d * FP32 if shape.kind.rms and trained.weights else 0) + d * n.norm
    angles = 2 * shape.head_dim * n.residual if shape.kind.rotary else 0
    return size.tokens * (norm + angles) + size.wanted * d * (FP32 + (n.compute if n.cast else 0))


def passing_back(shape: Shape, size: Size, trained: Trained, n: Numbers) -> float:
    """Bytes of gradients under way through the last block, while all that was saved is still there."""
    d, f, q = shape.hidden, shape.ffn, shape.attention_width
    feed_forward = 2 * d * n.residual + (2 if shape.gated else 1) * f * n.compute
    attention = 2 * d * n.residual + 4 * q * n.compute
    if n.short(size.width):
        attention += 2 * shape.heads * size.width * n.compute
    freed = _feed_forward(shape, trained, n)
    return size.tokens * max(feed_forward, attention - freed)


def passing_forward(shape: Shape, size: Size, n: Numbers, *, packed: bool) -> float:
    """Bytes under way in one block of a pass without gradients: in its attention, or in its feed-forward."""
    d, f, q, kv = shape.hidden, shape.ffn, shape.attention_width, shape.kv_width
    stream = 3 * d * n.residual  # embeddings, the block's input, and the first sum
    normed = d * n.norm
    later = 0 if shape.kind.rotary or shape.family == "opt" else 2 * d * n.residual  # the others drop less on the way
    feed_forward = later + normed + (3 if shape.gated else 2) * f * n.compute
    turned = n.residual if shape.kind.rotary else n.compute
    wide = q if shape.kv_heads != shape.heads else kv
    attention = normed + (q + kv) * turned + kv * n.compute - (d * n.residual if shape.kind.rotary else 0)
    if shape.kind.rotary and shape.kind.fused_qkv:
        attention += 3 * q * n.compute  # what was cut apart is still there
    if shape.kind.explicit:
        attention += later + 3 * q * n.compute + 3 * shape.heads * size.width * n.compute
    elif packed and n.short(size.width):
        attention += 5 * q * n.compute + shape.heads * size.width * n.compute
    elif packed:
        attention += (q + wide) * turned + wide * n.compute + 2 * q * n.compute
        attention += 2 * q * n.compute if turned != n.compute else 0
    else:
        attention += 2 * q * n.compute
    angles = 2 * shape.head_dim * n.residual if shape.kind.rotary else 0
    return size.tokens * (stream + angles + max(feed_forward, attention))


def chunk_rows(shape: Shape, size: Size) -> int:
    """Rows of logits that exist at once."""
    return min(size.wanted, max(1, CHUNK_BYTES // (FP32 * shape.vocab)))


def logits(
    shape: Shape, rows: int, n: Numbers, *, entropy: bool, heated: bool, backward: bool, picked: bool = False
) -> float:
    """Bytes at the largest moment of making log-probabilities of `rows` rows. `heated`: the temperature is not 1.

    Forward: the logits, their fp32 copy where they are none, and the log-probabilities; with entropy e to them, and the
    products.
    Backward: the log-probabilities and their gradient, which is then cast back. `picked`: the rows are copied out of
    the padded logits of the model's own forward, and their gradient back.
    """
    wide = n.compute if n.cast else FP32
    copy = FP32 if wide != FP32 else 0
    forward = wide + copy + FP32 + (FP32 if heated and not copy else 0) + (2 * FP32 if entropy else 0)
    back = FP32 + FP32 + (FP32 if entropy else 0) + (wide if copy else 0) if backward else 0
    return rows * shape.vocab * float(max(forward, back) + (wide if picked else 0))


def drawing(shape: Shape, rows: int, n: Numbers, *, heated: bool, cut: bool) -> float:
    """Bytes of drawing a token for each of `rows` rows: logits, scaled, probabilities, their running sum; sorted if cut."""
    wide = n.compute if n.cast else FP32
    copy = FP32 if wide != FP32 or heated else 0
    return rows * shape.vocab * float(wide + copy + 2 * FP32 + (2 * FP32 + 8 + 2 if cut else 0))


def saved_across(shape: Shape, decoder: Size, encoder: Size, trained: Trained, n: Numbers) -> float:
    """Bytes that a decoder block keeps of its attention to the encoder: its own side, and keys and values of the prompt."""
    d, q = shape.hidden, shape.attention_width
    norm = d * n.norm + (d * FP32 if trained.weights else 0)
    reads = trained.weights or "q" in trained.adapted
    own = norm + (d * n.compute if reads else 0) + 2 * q * n.compute
    return decoder.tokens * own + encoder.tokens * 2 * q * n.compute
