"""The audit of a source by its name, for Python and notebooks."""

from __future__ import annotations

from dpo.preferences.audit import pipeline
from dpo.preferences.audit.result import Audit
from dpo.preferences.normalise import Columns, normalise


def audit(source: str, *, split: str = "train", columns: Columns | None = None, eval_fraction: float = 0.05) -> Audit:
    """What is wrong with the preference pairs of a source: a name, a file or a hub id, as `dpo data audit` says it.

    Args:
        columns: how they are read, where that is not recognised.
        eval_fraction: share of the prompts that training would hold out.

    Raises:
        DataError: it cannot be read, or holds no pairs.
    """
    return pipeline.audit(normalise(source, split, columns), eval_fraction=eval_fraction)
