"""One worker for the lens: scoring in turn, with progress, never in a web request's own thread.

Beside the generation engine, so that reading a lens does not wait for somebody's long answer.  No
torch here: the worker's thread imports it with the first task.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dpo.errors import DpoError
from dpo.evaluation.tuning import tuning_of
from dpo.policies.names import weights_state
from dpo.serving.service import Service, Work

if TYPE_CHECKING:
    from dpo.evaluation.lens import Lens
    from dpo.policies.loading import Policy

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Task(Work):
    """Something to score."""

    work: Callable[[LensWorker, Task], None]


class LensWorker(Service[Task]):
    """Runs tasks one after the other on one device.

    Args:
        device: for `open_lens`.
        capacity: tasks that may wait; more are refused with `BusyError`.
        keep: policies (each with its reference) that stay in memory; the one unused for longest goes.
    """

    def __init__(self, device: str = "auto", capacity: int = 16, keep: int = 4) -> None:
        super().__init__("dpo-lens", capacity, "texts are waiting to be scored")
        self.device, self.keep = device, keep
        self._open: OrderedDict[tuple[str, str | None], tuple[object, Lens]] = OrderedDict()

    def submit(self, work: Callable[[LensWorker, Task], None], *, viewer: str = "") -> Task:
        """Queue a task of a viewer.

        Raises:
            BusyError: the queue is full.
        """
        return self._queue(lambda number: Task(number, work, viewer=viewer))

    def lens(self, task: Task, name: str, reference: str | None = None, beta: float | None = None) -> Lens:
        """The lens of a policy, read from disk if it is not in memory as it is there now (worker's thread only).

        Beta and the lengths at which texts are cut are settings of this look, not of what is loaded.
        """
        tuning = tuning_of(name, reference, beta)
        state = (weights_state(name), weights_state(tuning.reference) if tuning.reference else None)
        key = (name, tuning.reference)
        known = self._open.get(key)
        if known is None or known[0] != state:
            task.emit("loading", message=f"Reading {name}" if self._open else f"Starting PyTorch, reading {name}")
            self._open.pop(key, None)  # before the new weights are read: both need not fit into memory
            self._open[key] = (state, self._read(name, reference))
            while len(self._open) > self.keep:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        return replace(self._open[key][1], tuning=tuning)

    def _read(self, name: str, reference: str | None) -> Lens:
        from dpo.evaluation.lens import open_lens
        from dpo.policies.loading import load_policy
        from dpo.policies.shared_weights import share_weights

        def load(name: str, device: str) -> Policy:
            policy = load_policy(name, device=device)
            share_weights(policy.model)  # with the engine's copy of it
            return policy

        return open_lens(name, reference=reference, device=self.device, load=load)

    def _serve(self, task: Task) -> None:
        task.work(self, task)

    def _failed(self, task: Task, error: Exception) -> None:
        if isinstance(error, DpoError):
            task.emit("failed", message=" ".join(str(error).split()))
            return
        logger.error("scoring failed", exc_info=error)
        task.emit("failed", message=f"Scoring failed ({type(error).__name__}): the server's log says more")
