"""Token by token, each step one replay of a CUDA graph: the GPU waits for no Python. For any packable model on a GPU.

A graph is captured once per batch size and cache length, both rounded up, and compared with the steps that it stands
for before it is used. When one does not fit, the engine goes on without graphs and says why in `fallback`.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakSet

import torch
from torch import Tensor

from appliance.engines import eager, plain
from appliance.engines._sampling import Sampling
from appliance.engines._shadow import Shadow
from appliance.engines._static_cache import Decoder
from appliance.errors import ConfigError
from appliance.models.attention import CannotPack, KvCache
from appliance.models.policy import Policy
from appliance.models.precision import Precision
from appliance.ppo.types import Engine, Generation, Prompts

Capture = Callable[[Callable[[], None]], Callable[[], object]]
"""Records the GPU work of a function, which it may also run; what it returns does that work again."""

CHECKED_STEPS = 3
"""Replays that are compared: the second and third show a graph in which a column or a token became a constant."""
LOOK_EVERY = 8
"""Tokens between two looks at whether every row is done; a look waits for the GPU."""
KEPT_GRAPHS = 4
"""Graphs with their caches that are kept; the one used longest ago goes first."""


class CannotReplay(Exception):
    """A graph could not be captured, or does not do what the step does."""


@dataclass(frozen=True)
class Graph:
    """A decoder and the replay of its step."""

    decoder: Decoder
    replay: Callable[[], object]


class CudaCapture:
    """Captures CUDA graphs that share one pool of memory: only one runs at a time, and none keeps anything in it."""

    def __init__(self) -> None:
        self._living: WeakSet[torch.cuda.CUDAGraph] = WeakSet()  # a pool is gone with the last graph that used it

    def __call__(self, step: Callable[[], None]) -> Callable[[], object]:
        """The replay of `step`, which is run twice before: once because libraries set themselves up at their first call.

        The second time it may not wait for the GPU. That would break the capture, after which some versions of torch
        cannot give memory back; so it is found out before.
        """
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            step()
            with _waiting_refused():
                step()
        here.wait_stream(aside)
        other = next(iter(self._living), None)
        graph = torch.cuda.CUDAGraph()
        pool = None if other is None else other.pool()
        # The outer one is for a capture that fails: it leaves its own stream current.
        with torch.cuda.stream(here), torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            step()
        self._living.add(graph)
        return graph.replay


@contextmanager
def _waiting_refused() -> Iterator[None]:
    """Inside, torch raises RuntimeError where it would wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it does not find every wait
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class CudaGraphEngine:
    """`fallback` is None, or why the engine goes on without graphs for good."""

    def __init__(self, policy: Policy, sampling: Sampling, capture: Capture) -> None:
        self.policy, self.sampling = policy, sampling
        self.fallback: str | None = None
        self._capture = capture
        self._dtype = torch.bfloat16 if _autocasts(policy.precision) else None
        self._shadow: Shadow | None = None
        self._graphs: OrderedDict[tuple[int, int], Graph] = OrderedDict()
        self._other: Engine = eager.make(policy, sampling)
        if not policy.packs:
            self._give_up("the model is read with padding", plain.make(policy, sampling))

    @torch.no_grad()
    def generate(self, prompts: Prompts, limits: Tensor, uniforms: Tensor) -> Generation:
        """One response per prompt (see `Engine`), with the weights of this moment."""
        if self.fallback is None:
            try:
                return self._replayed(prompts, limits, uniforms)
            except torch.OutOfMemoryError:
                self._forget()  # the caller comes back with fewer rows
                raise
            except CannotPack as error:
                self._give_up(str(error), plain.make(self.policy, self.sampling))  # eager would raise the same
            except CannotReplay as error:
                self._give_up(str(error), self._other)
        return self._other.generate(prompts, limits, uniforms)

    def _replayed(self, prompts: Prompts, limits: Tensor, uniforms: Tensor) -> Generation:
        count, width = uniforms.shape
        shadow = self._current_shadow()
        prefilled, hidden = eager.prefill(self.policy, prompts, prompts.ids.shape[1])
        size = (rounded_rows(count), rounded_tokens(prompts.ids.shape[1] + width))
        graph = self._graphs.get(size)
        decoder = graph.decoder if graph is not None else self._decoder(size, prefilled)
        decoder.begin(prompts, limits, uniforms, prefilled)
        with _computing(self.policy.precision):
            decoder.draw(shadow.model.head(hidden))
        if width > 1:
            if graph is None:
                graph = self._graphs[size] = self._checked(decoder, shadow, min(CHECKED_STEPS, width - 1), count)
            self._graphs.move_to_end(size)
            for t in range(1, width):
                if t % LOOK_EVERY == 0 and not bool(decoder.alive.any()):
                    break
                graph.replay()
        return decoder.responses(count, width)

    def _current_shadow(self) -> Shadow:
        if self._shadow is None or not self._shadow.valid:
            self._forget()
            self._shadow = Shadow(self.policy.model.lm, self._dtype)
        else:
            self._shadow.refresh()
        return self._shadow

    def _decoder(self, size: tuple[int, int], like: KvCache) -> Decoder:
        while len(self._graphs) >= KEPT_GRAPHS:
            self._graphs.popitem(last=False)
        return Decoder(self.sampling, size[0], size[1], like, self._dtype)

    def _checked(self, decoder: Decoder, shadow: Shadow, steps: int, count: int) -> Graph:
        """A graph whose first `steps` tokens are those of the policy's own modules. Raises CannotReplay."""

        def step() -> None:
            with _computing(self.policy.precision):
                decoder.step(shadow.model)

        def plainly() -> None:
            with _computing(self.policy.precision):
                decoder.step(self.policy.model)

        start = decoder.snapshot()
        wanted = _run(decoder, plainly, steps, count)
        decoder.restore(start)
        try:
            replay = self._capture(step)
        except RuntimeError as error:
            if _out_of_memory(error):
                raise torch.OutOfMemoryError("out of memory while a CUDA graph was captured") from error
            raise CannotReplay(f"the capture failed: {str(error).splitlines()[0]}") from error
        decoder.restore(start)
        found = _run(decoder, replay, steps, count)
        decoder.restore(start)
        compare(found, wanted, self.policy.precision.tolerance)
        return Graph(decoder, replay)

    def _forget(self) -> None:
        self._graphs.clear()
        self._shadow = None

    def _give_up(self, reason: str, other: Engine) -> None:
        self._forget()
        self.fallback, self._other = reason, other


def rounded_rows(count: int) -> int:
    """The next power of two up to 64, then the next multiple of 64: few graphs, and at most twice the rows."""
    return 1 << (count - 1).bit_length() if count <= 64 else -(-count // 64) * 64


def rounded_tokens(count: int) -> int:
    """The next multiple of 64, the columns of a cache."""
    return -(-count // 64) * 64


def compare(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], tolerance: float) -> None:
    """Nothing if two runs drew the same: tokens and logprobs [steps, b] each. Raises CannotReplay.

    A rounding error can move a token only where its random number lies that close to the border between two tokens, so
    at most a share of about `tolerance` of the rows may differ in tokens; a row counts up to where it does.
    """
    same = (found[0] == wanted[0]).long().cumprod(dim=0).bool()  # [steps, b]
    gap = float(torch.where(same, (found[1] - wanted[1]).abs(), 0.0).max())
    moved = float((~same[-1]).float().mean())
    if not gap <= tolerance or moved > len(same) * tolerance:
        raise CannotReplay(
            f"replayed steps differ from the model's own: log-probs by {gap:.2g} (allowed {tolerance:.2g}), "
            f"tokens in {moved:.1%} of the rows"
        )


def _run(decoder: Decoder, step: Callable[[], object], steps: int, count: int) -> tuple[Tensor, Tensor]:
    tokens, logprobs = [], []
    for _ in range(steps):
        step()
        tokens.append(decoder.tokens[:count].clone())
        logprobs.append(decoder.token_logprobs[:count].clone())
    return torch.stack(tokens), torch.stack(logprobs)


def _autocasts(precision: Precision) -> bool:
    return precision.device.type == "cuda" and precision.compute == "bf16"


@contextmanager
def _computing(precision: Precision) -> Iterator[None]:
    """As `precision.active`, but autocast keeps no cast weights: a graph would read them after they are gone."""
    if _autocasts(precision):
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            yield
    else:
        with precision.active():
            yield


def _out_of_memory(error: BaseException | None) -> bool:
    """Also when ending the broken capture failed in turn, and hides what broke it."""
    while error is not None and not isinstance(error, torch.OutOfMemoryError):
        error = error.__context__
    return error is not None


def make(policy: Policy, sampling: Sampling) -> Engine:
    """The engine for `sampling.engine: cuda_graph`. Raises ConfigError without a GPU."""
    if policy.device.type != "cuda":
        raise ConfigError(
            f"sampling.engine: cuda_graph, but the policy is on the {policy.device.type}", "set sampling.engine: auto"
        )
    return CudaGraphEngine(policy, sampling, CudaCapture())
