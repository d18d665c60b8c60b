"""What torch really holds: every storage that comes and goes inside a `with`, counted in bytes."""

import weakref
from collections.abc import Callable
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages that operations made inside and that are still alive: `now`, and their `peak`.

    What existed before is not counted. An operator's own scratch memory is not seen, as it is no tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._living: dict[int, int] = {}
        self._before: set[int] = set()

    def ignore(self, *tensors: Tensor) -> Self:
        """Never count these tensors' storages, which operations inside may return views of."""
        self._before |= {x.untyped_storage().data_ptr() for x in tensors}
        return self

    def restart(self) -> None:
        """The peak from now on."""
        self.peak = self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(x.untyped_storage()) for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in tree_iter(out):
            if isinstance(x, Tensor):
                self._count(x.untyped_storage(), given)
        return out

    def _count(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        key = id(storage)  # the same Python object as long as the memory lives
        if key in self._living or key in given or storage.data_ptr() in self._before:
            return
        self._living[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key).atexit = False

    def _gone(self, key: int) -> None:
        self.now -= self._living.pop(key, 0)


@pytest.fixture
def live_bytes() -> Callable[..., LiveBytes]:
    """live_bytes(model, ...): a LiveBytes that does not count the weights of these modules."""

    def make(*modules: nn.Module) -> LiveBytes:
        return LiveBytes().ignore(*(p for module in modules for p in [*module.parameters(), *module.buffers()]))

    return make
