"""Policies in memory: loaded once, tensors shared, the longest unused dropped when memory is short."""

from __future__ import annotations

import contextlib
import io
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from tqdm.std import tqdm
from transformers.utils import logging as transformers_logging

from dpo.policies.loading import Policy, load_policy, weights_dtype
from dpo.policies.names import weights_state
from dpo.policies.shared_weights import share_weights

Progress = Callable[[str, float, int], None]  # (policy, share of its weights read, bytes on disk)


class PolicyStore:
    """Loaded policies by name, within `memory` bytes of weights of `dtype` (fp32 or bf16).

    A policy whose files changed since it was loaded is loaded again; one whose files are gone is
    refused, although it may still be in memory.
    """

    def __init__(self, device: str = "auto", memory: int = 4 << 30, dtype: str = "fp32") -> None:
        self.device, self.memory = device, memory
        self.dtype = weights_dtype(dtype, device)
        self._loaded: OrderedDict[str, tuple[tuple[tuple[str, int, int], ...], Policy]] = OrderedDict()

    def get(self, name: str, progress: Progress, keep: frozenset[str] = frozenset()) -> Policy:
        """The policy called `name`.

        Args:
            keep: names in use that must not be dropped for this one.

        Raises:
            PolicyError: it can't be found or loaded.
        """
        state = weights_state(name)
        known = self._loaded.get(name)
        if known is not None and known[0] == state:
            self._loaded.move_to_end(name)
            return known[1]
        self._loaded.pop(name, None)
        size = sum(size for _path, _changed, size in state)
        progress(name, 0.0, size)
        with _reported(lambda share: progress(name, share, size)):
            policy = load_policy(name, device=self.device, dtype=self.dtype)
        share_weights(policy.model)
        self._loaded[name] = (state, policy)
        self._drop({name, *keep})
        return policy

    def names(self) -> list[str]:
        """What is loaded, the longest unused first."""
        return list(self._loaded)

    def bytes(self) -> int:
        """Memory of all weights, what is shared counted once."""
        tensors = (x for _, policy in self._loaded.values() for x in policy.model.parameters())
        return sum({x.data_ptr(): x.numel() * x.element_size() for x in tensors}.values())

    def _drop(self, keep: set[str]) -> None:
        for name in list(self._loaded):
            if self.bytes() <= self.memory:
                return
            if name not in keep:
                del self._loaded[name]


@contextlib.contextmanager
def _reported(report: Callable[[float], None]) -> Iterator[None]:
    """Send transformers' progress bars to `report` (0 to 1) instead of the terminal."""

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False, "mininterval": 0.05})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if self.total:
                report(min(self.n / self.total, 1.0))

    previous = transformers_logging.set_tqdm_hook(lambda _factory, args, kwargs: Bar(*args, **kwargs))
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(previous)
