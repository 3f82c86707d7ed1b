"""Which pairs: one description, made once from a run's settings and handed to whoever reads or scores them.

Training, the audit, evaluations, the Lens, the pre-flight check and the loss playground all read the
pairs that a `DataSpec` names, so that a setting (`--swap`, `--layout`, a column) can't act in one of
them and be forgotten in another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo.errors import ConfigError, DataError
from dpo.preferences.normalise import Columns


@dataclass(frozen=True)
class DataSpec:
    """Preference pairs by where they come from, how they are read, and how they are divided.

    `source` is a name, a file or a hub id, or several with weights (`"human-like=2,orca=1"`).  `seed`
    draws `num_samples` pairs and the shares of a mix; prompts are held out by their text alone.
    `max_eval_pairs` is how many of the held-out pairs an evaluation takes, None for all.  `half` 1 or 2 trains on the
    prompts of one half alone, by hash: what is trained on the other one has seen none of them.
    """

    source: str
    split: str = "train"
    columns: Columns = Columns()
    num_samples: int | None = None
    eval_fraction: float = 0.05
    seed: int = 0
    max_eval_pairs: int | None = None
    half: int | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> DataSpec:
        """The pairs that settings name: `vars(config)`, or the `config` that a run recorded.

        What an older record does not hold has the value that it had then, which is today's default.

        Raises:
            DataError: the settings name no data, or hold something else in place of a number or text.
        """
        source = settings.get("dataset")
        if not isinstance(source, str) or not source:
            raise DataError("The settings do not say which pairs: name a dataset")
        fraction = _typed(settings, "eval_fraction", (int, float))
        return cls(
            source=source,
            split=_typed(settings, "split", str) or cls.split,
            columns=columns_of(settings),
            num_samples=_typed(settings, "num_samples", int),
            eval_fraction=cls.eval_fraction if fraction is None else float(fraction),
            seed=_typed(settings, "seed", int) or 0,
            max_eval_pairs=_typed(settings, "max_eval_pairs", int),
            half=_typed(settings, "half", int),
        )

    def sources(self) -> dict[str, float | None]:
        """Each source and its weight in the mix; see `parse_sources`.

        Raises:
            ConfigError: weights that are no positive numbers.
        """
        return parse_sources(self.source)


def columns_of(settings: Mapping[str, Any]) -> Columns:
    """How to read the columns, by settings under their names: `prompt_column`, `layout`, `swap`, ...

    Raises:
        DataError: one of them is something else than text.
    """
    prompt, chosen, rejected = (_typed(settings, f"{role}_column", str) for role in ("prompt", "chosen", "rejected"))
    return Columns(prompt, chosen, rejected, _typed(settings, "layout", str), bool(settings.get("swap")))


def parse_sources(source: str) -> dict[str, float | None]:
    """Sources and their weights of `"a=2,b=1"`; a file whose name has these signs is one source.

    Raises:
        ConfigError: a weight that is no positive number, a source twice, or weights for some only.
    """
    if Path(source).expanduser().exists():
        return {source: None}
    found: dict[str, float | None] = {}
    for part in (part.strip() for part in source.split(",")):
        name, sign, weight = part.rpartition("=") if not Path(part).expanduser().exists() else (part, "", "")
        if not sign:
            name = part
        if not name:
            raise ConfigError(f"--dataset {source!r} names no source: give a name, a file or a hub id")
        if name in found:
            raise ConfigError(f"--dataset names {name} twice: give it once, with a weight if need be ({name}=2)")
        try:
            found[name] = float(weight) if sign else None
        except ValueError:
            raise ConfigError(f"--dataset {part}: {weight!r} is no weight; give a number above 0") from None
        if sign and not 0 < float(weight) < float("inf"):
            raise ConfigError(f"--dataset {part}: a weight must be above 0")
    if len({weight is None for weight in found.values()}) > 1:
        raise ConfigError(f"--dataset {source}: give every source a weight, or none")
    return found


def _typed(settings: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """The setting of that name, None where there is none."""
    value = settings.get(name)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise DataError(f"{name} of the data is {value!r}: the settings are damaged, name the data by hand")
