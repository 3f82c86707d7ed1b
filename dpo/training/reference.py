"""The reference's log-probabilities, computed once for each pair and kept on disk.

The reference never changes, so log p_ref(answer | prompt) is computed when a pair is first seen and
read from then on: by later epochs, by every evaluation, after a resume, and by later runs with
another beta, rate or loss.  No pass is ever made ahead of time, so a run of a few steps costs what
it would cost without.

One file belongs to one reference as it scores: its weights, the precision, the attention and the way
of summing are in its name.  Within it, a pair is found by a hash of its token ids.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor, nn

from dpo.files import write_atomically
from dpo.policies.families import whole
from dpo.processes import living

# Part of every file name: raise it when the scoring changes.
_VERSION = "2"
_ADAPTER = ("lora_", "trainable_tokens_delta")


def identity(reference: nn.Module, how: Iterable[object]) -> str:
    """Hash of a reference's weights and of `how` it scores (precision, attention, ...).

    For a policy with a fresh adapter the weights are those below it; an adapter that was loaded to be
    trained further has a frozen copy called `ref`, which counts.
    """
    digest = xxhash.xxh3_128(repr((_VERSION, *how)).encode())
    names = {name for name, _ in reference.named_parameters()}
    copied = any(".ref." in name for name in names)
    for name, value in sorted(reference.state_dict().items()):
        if any(part in name for part in _ADAPTER) and not (copied and ".ref." in name):
            continue
        # PEFT puts a layer of its own around what it adapts: the same weights under another name.
        digest.update(name.removeprefix("base_model.model.").replace(".base_layer", "").encode())
        held: Any = whole(value.detach()).cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(held)
    return digest.hexdigest()


def pair_key(prompt: Sequence[int], chosen: Sequence[int], rejected: Sequence[int]) -> int:
    """A 63-bit hash of a pair's token ids."""
    parts = (np.asarray(ids, dtype=np.int32).tobytes() for ids in (prompt, chosen, rejected))
    return xxhash.xxh3_64_intdigest(b"|".join(parts)) >> 1


class ReferenceCache:
    """A few numbers (log-probabilities in nats) by pair, in memory and in one file per process.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     cache = ReferenceCache(Path(directory), "some-reference")
    ...     cache.put([7], torch.tensor([[-12.5, -30.0]]))
    ...     cache.save()
    ...     ReferenceCache(Path(directory), "some-reference").get([7])
    tensor([[-12.5000, -30.0000]], dtype=torch.float64)
    """

    def __init__(self, directory: Path, name: str, process: int = 0) -> None:
        self.path = directory / f"{name}-{process}.npz"
        self._known: dict[int, tuple[float, ...]] = {}
        self._saved = 0
        for path in sorted(directory.glob(f"{name}-*.npz")):
            self._read(path)
        self._saved = len(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, keys: Sequence[int]) -> Tensor | None:
        """`(pairs, numbers)` in double precision, or None if a pair is new."""
        found = [self._known.get(key) for key in keys]
        if any(values is None for values in found):
            return None
        return torch.tensor(found, dtype=torch.float64)

    def put(self, keys: Sequence[int], values: Tensor) -> None:
        """Note `(pairs, numbers)` of the pairs that are new; what is known stays as it was first computed."""
        for key, row in zip(keys, values.tolist(), strict=True):
            self._known.setdefault(key, tuple(row))

    def save(self) -> None:
        """Write the file anew if there is something new; a disk that refuses only costs time later."""
        if len(self._known) == self._saved:
            return
        content = io.BytesIO()
        np.savez(
            content,
            keys=np.fromiter(self._known, dtype=np.int64, count=len(self._known)),
            logps=np.array(list(self._known.values()), dtype=np.float64),
        )
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, content.getvalue())
            self._saved = len(self._known)
            for left in self.path.parent.glob(f".{self.path.name}.[0-9]*.*"):
                if living(int(left.name.split(".")[-2])) is None:  # its process was killed while it wrote
                    left.unlink(missing_ok=True)

    def _read(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as content:
                keys, logps = content["keys"], content["logps"]
                pairs = [tuple(map(float, row)) for row in logps]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return  # damaged: its pairs are computed again
        self._known |= dict(zip(keys.tolist(), pairs, strict=True))
