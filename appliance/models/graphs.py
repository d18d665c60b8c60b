"""Functions compiled by torch, for a CPU: what is compiled how, which changes it is looked at for, what its errors say."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings, filterwarnings

import torch
from torch import Tensor
from transformers import PreTrainedModel

from appliance.errors import ConfigError
from appliance.models.adapters import has_adapters

OPTIONS = {"cpp.use_decompose_tanh": True}
"""GELU's tanh by way of exp: torch's own kernel for it takes four times as long."""


class Graph:
    """A function compiled whole, for tensors of any size; numbers among its arguments are written into the graph.

    What one of these has compiled serves no other: torch would tell a function's models apart by a look at each. Two sizes
    that happen to be equal while the graph is made stay two sizes, or it would have to be made again.
    """

    def __init__(self, function: Callable[..., Any], lm: PreTrainedModel | None = None, *, amx: bool = False) -> None:
        """`lm` is the model that the function runs, if any. Its modules are looked at anew at each call if it is adapted.

        With `amx` fp32 products are made on AMX, where the CPU and the compiler can do it.
        """
        from torch._dynamo import config
        from torch.fx.experimental import _config

        from appliance.models.fusing import Rewriting

        _config.use_duck_shape, config.specialize_float = False, True  # of the process, which compiles nothing else
        options: dict[str, Any] = {**OPTIONS, "post_grad_custom_post_pass": Rewriting(amx=amx and _has_amx())}
        if lm is None or not has_adapters(lm):
            options["guard_filter_fn"] = _of_arguments
        self._compiled = torch.compile(
            function, fullgraph=True, dynamic=True, options=options, recompile_limit=64, isolate_recompiles=True
        )

    def __call__(self, *given: Any) -> Any:
        """What the function returns. Raises ConfigError where it cannot be compiled."""
        with _compiler_alone(), _told("torch cannot compile this model", "set compile: false"), catch_warnings():
            filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")  # torch's own look at it
            return self._compiled(*given)


def _has_amx() -> bool:
    from appliance.models import amx

    with _compiler_alone(), _told("torch cannot build the products on AMX", "set compile: false"):
        return amx.load()


def _of_arguments(guards: Sequence[Any]) -> list[bool]:
    """Torch would look through all modules and globals at each call for one that changed; here none of them does."""
    return [
        not (g.is_global or g.orig_guard.source.is_unspecialized_nn_module() or "__dataclass_fields__" in g.name)
        for g in guards
    ]


@contextmanager
def in_one_order() -> Iterator[None]:
    """Inside, sums are made in one order, whatever thread comes first. The backward pass of a graph belongs inside, too.

    Without it the gradient of an embedding is added up as the threads arrive, and no run could be repeated to the last bit.
    """
    from torch.utils import deterministic

    before = torch.get_deterministic_debug_mode(), deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        deterministic.fill_uninitialized_memory = before[1]


def require_compiler() -> None:
    """Builds a line of C++ as torch does. Raises ConfigError where that does not work: a run finds out before it loads."""
    fix = "install a C++ compiler and Python's headers (apt-get install g++ python3-dev), or set compile: false"
    with _compiler_alone(), _told("torch cannot build a program here", fix):
        torch.compile(_doubled, fullgraph=True)(torch.ones(8))


def _doubled(x: Tensor) -> Tensor:
    return x * 2.0


@contextmanager
def _compiler_alone() -> Iterator[None]:
    """Ctrl-C goes to every process of a terminal. Those that are started inside do not get it; this one acts on it as ever."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _told(what: str, fix: str) -> Iterator[None]:
    """Turns an error of torch's compiler into a ConfigError with this `fix`."""
    try:
        yield
    except Exception as error:
        if not _from_compiler(error):
            raise
        raise ConfigError(f"compile: true, but {what} ({_first_line(error)})", fix) from None


def _from_compiler(error: Exception) -> bool:
    """By name, since importing torch's compiler takes seconds that only a run that compiles should spend."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
