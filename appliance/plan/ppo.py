"""The phases of a PPO run in bytes: load, generate, evaluate, score, update, report."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from appliance.plan import activations as act
from appliance.plan.activations import FP32, Numbers, Size, Trained
from appliance.plan.parts import Phase
from appliance.plan.standing import Standing, rounded_rows

AT_A_TIME, CPU_ROWS = 128, 32
"""As in evaluate/answers.py and ppo/rollout.py."""


@dataclass(frozen=True)
class Ppo(Standing):
    """A PPO run on one device, phase by phase."""

    def load(self) -> Phase:
        """Every model in its place."""
        return Phase("load", {"weights": self.weights, "runtime": self.runtime})

    def generate(self) -> Phase:
        """Prompts read, then token by token: the larger of the two moments."""
        rows, whole = self.rows("generate"), self.prompt + self.response
        parts = self.held | {"weights": self.held["weights"] + self.casts}
        # An engine's own cache has all columns from the start; the model's own grows with every token.
        first = self.prompt if self.engine in ("cuda_graph", "plain") else whole
        last = self.prompt if self.engine == "cuda_graph" else whole
        reading = parts | {
            "cache": parts["cache"] + self.cache(rows, first, 0),
            "activations": self.reading(Size(rows, self.prompt, 1)),
        }
        drawn = self.drawing(rows) if self.engine != "cuda_graph" else 0.0  # a graph's is counted with its cache
        writing = parts | {
            "cache": parts["cache"] + self.cache(rows, last, self.response),
            "activations": self.step(rows) if self.step(rows) >= drawn else 0.0,
            "logits": drawn if self.step(rows) < drawn else 0.0,
        }
        return Phase("generate", max(reading, writing, key=lambda one: sum(one.values())))

    def cache(self, rows: int, tokens: int, written: int) -> float:
        """Bytes of the keys and values of `rows` sequences of `tokens` tokens; an encoder-decoder has `written` ones too."""
        n, shape = self.numbers, self.shape
        if shape.seq2seq:
            kept = written + (self.prompt + 1 if written else 0)
            return 2.0 * shape.decoder_layers * rows * shape.kv_width * n.compute * kept
        key = n.residual if shape.kind.rotary else n.compute
        return shape.layers * rows * tokens * shape.kv_width * float(key + n.compute)

    def reading(self, size: Size) -> float:
        """Bytes under way in a pass without gradients."""
        largest = max(m.weights for m in self.shape.matrices) * (2 if self.casts or self.halved else 0)
        if self.shape.seq2seq and size.kept > 1:
            encoder, decoder = (
                Size(size.sequences, self.prompt + 1, 0),
                Size(size.sequences, self.response, self.response),
            )
            states = encoder.tokens * self.shape.hidden * self.numbers.residual
            sides = [act.passing_forward(self.shape, one, self.numbers, packed=False) for one in (encoder, decoder)]
            return max(sides[0], states + sides[1]) + largest
        return act.passing_forward(self.shape, size, self.numbers, packed=self.shape.kind.packs) + largest

    def evaluate(self) -> Phase:
        """Log-probabilities, entropies and values of what was sampled, by policy, reference and critic."""
        rows = self.rows("evaluate") if self.cuda else min(self.rows("evaluate"), CPU_ROWS)
        size, n, shape = Size(rows, self.width, self.response), self.numbers, self.shape
        body = self.reading(size)
        heated = self.config.sampling.temperature != 1.0
        made = act.logits(
            shape, self.logit_rows(size), n, entropy=True, heated=heated, backward=False, picked=self.picked
        )
        read = size.tokens if not shape.seq2seq else rows * (self.prompt + 1 + self.response)
        states = (read + size.wanted) * shape.hidden * float(n.norm)
        parts = dict(self.held)
        parts["weights"] += self.casts
        moving = (body, 0.0) if body >= states + made else (states, made)
        return Phase("evaluate", parts | {"activations": moving[0] + self.kept_rollout, "logits": moving[1]})

    @cached_property
    def kept_rollout(self) -> float:
        """Bytes of the rollout that stay on the device: ids and eight numbers a token, and a frozen trunk's output."""
        tokens = self.config.batch.rollout * (self.prompt + self.response)
        trunk_kept = self.shape.hidden * self.numbers.residual if self.config.policy.train == "top_layers" else 0
        return tokens * (8.0 + 8 * FP32 + trunk_kept)

    def logit_rows(self, size: Size) -> int:
        """Rows of logits that exist at once: a chunk, or all where the model's own forward makes them."""
        return act.chunk_rows(self.shape, size) if self.shape.kind.packs or self.shape.seq2seq else size.wanted

    @property
    def picked(self) -> bool:
        """Whether the model's own padded forward makes the logits."""
        return not self.shape.kind.packs and not self.shape.seq2seq

    def score(self) -> Phase:
        """The reward models read texts."""
        n = Numbers(FP32, FP32, FP32, cast=False, cpu=not self.cuda)
        largest = 0.0
        for reward in self.rewards:
            if reward.shape is not None:
                tokens = min(
                    [self.prompt + self.response + 2, *filter(None, [reward.tokens, reward.shape.limit_tokens])]
                )
                texts = min(reward.microbatch, self.config.batch.rollout)
                largest = max(largest, act.passing_forward(reward.shape, Size(texts, tokens, 0), n, packed=False))
        return Phase("score", self.held | {"activations": largest + self.kept_rollout})

    def update(self, microbatch: int) -> Phase:
        """Forward and backward of one micro-batch, at the largest of three moments, and the optimizer's step.

        At the logits, with all that was saved; in the last block's backward pass; at its end, when every gradient is there.
        """
        shape, n, trained = self.shape, self.numbers, self.trained
        ppo, size = self.config.ppo, Size(microbatch, self.width, self.response)
        saved = self.saved(size)
        made = act.logits(
            shape,
            self.logit_rows(size),
            n,
            entropy=ppo.entropy_coef > 0,
            heated=self.config.sampling.temperature != 1.0,
            backward=True,
            picked=self.picked,
        )
        whole = FP32 * self.trainable
        begun = whole if microbatch < self.config.batch.minibatch else 0.0
        full = self.config.policy.train == "full"
        embedding = FP32 * shape.embedding if full else 0.0
        back = act.passing_back(shape, size, trained, n) + (
            2.0 * max(m.weights for m in shape.matrices) if self.halved and not full else 0.0
        )
        held = self.held | {"weights": self.held["weights"] + self.casts}
        tied_again = embedding if shape.tied else 0.0
        end = embedding + tied_again if begun else tied_again
        moments = [
            held | {"gradients": begun, "activations": saved + self.kept_rollout, "logits": made},
            held | {"gradients": begun + embedding, "activations": saved + back + self.kept_rollout, "logits": 0.0},
            held | {"gradients": whole + end, "activations": self.kept_rollout, "logits": 0.0},
        ]
        return Phase("update", max(moments, key=lambda parts: sum(parts.values())))

    def saved(self, size: Size) -> float:
        """Bytes that autograd keeps of a micro-batch: of the policy, and of a critic of its own."""
        shape, n, trained = self.shape, self.numbers, self.trained
        if shape.seq2seq:
            return self.saved_seq2seq(size)
        packed = shape.kind.packs
        total = act.saved_by_blocks(shape, size, trained, n, packed=packed)
        total += act.saved_at_the_end(shape, size, trained, n)
        if self.critic is not None:
            own, everything = self.critic, Trained(self.critic.layers, weights=True)
            numbers = act.numbers(cuda=self.cuda, bf16=self.bf16, halved=False)
            total += act.saved_by_blocks(own, size, everything, numbers, packed=own.kind.packs)
            total += act.saved_at_the_end(own, size, everything, numbers)
        return total

    def saved_seq2seq(self, size: Size) -> float:
        """Bytes of an encoder over the prompts and a decoder over the responses, which also reads the encoder."""
        shape, n, trained = self.shape, self.numbers, self.trained
        encoder = Size(size.sequences, self.prompt + 1, 0)
        decoder = Size(size.sequences, self.response, self.response)
        total = act.saved_at_the_end(shape, encoder, trained, n) + act.saved_at_the_end(shape, decoder, trained, n)
        if not (self.config.policy.train == "lora" and self.config.policy.lora.last_layers):
            total += act.saved_by_blocks(shape, encoder, replace(trained, layers=shape.layers), n, packed=False)
        total += act.saved_by_blocks(shape, decoder, trained, n, packed=False)
        return total + trained.layers * act.saved_across(shape, decoder, encoder, trained, n)

    def report(self) -> Phase:
        """Start and result, both frozen, answer the report's prompts; nothing of the training is left."""
        source, evaluation = self.config.policy, self.config.evaluation
        each = self.shape.parameters * (2 if source.quantize != "none" else FP32)
        rows = min(self.report_rows or AT_A_TIME, evaluation.report_prompts * evaluation.report_samples)
        n = act.numbers(cuda=self.cuda, bf16=self.bf16, halved=source.quantize != "none")
        graph = self.engine == "cuda_graph" or (
            self.cuda and self.shape.kind.packs and self.config.sampling.engine == "auto"
        )
        copied = (
            2.0 * (self.shape.matrix_weights + self.shape.embedding) if graph and n.cast and n.residual == FP32 else 0.0
        )
        small = Size(rows if self.cuda else min(rows, CPU_ROWS), self.width, self.response)
        body = act.passing_forward(self.shape, small, n, packed=self.shape.kind.packs)
        made = act.logits(self.shape, self.logit_rows(small), n, entropy=True, heated=False, backward=False)
        cache = self.static_cache(rounded_rows(rows)) if graph else 0.0
        return Phase(
            "report",
            {
                "weights": 2 * each + copied + self.scorers,
                "cache": cache + self.cache(rows, self.prompt + (0 if graph else self.response), self.response),
                "activations": body,
                "logits": max(made, self.drawing(rows)),
                "runtime": self.runtime,
            },
        )

    def at_a_time(self, phase: str, rows: int) -> "Ppo":
        """The same run with so many responses at a time in generate, evaluate or report."""
        if phase == "generate":
            return replace(self, generate_rows=rows)
        return replace(self, evaluate_rows=rows) if phase == "evaluate" else replace(self, report_rows=rows)

    def phases(self, microbatch: int) -> Iterator[Phase]:
        """All six, in order."""
        yield self.load()
        yield self.generate()
        yield self.evaluate()
        yield self.score()
        yield self.update(microbatch)
        yield self.report()
