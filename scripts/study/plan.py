"""A table of the study as its file in `configs/study` says it (no torch here)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from dpo.errors import ConfigError
from dpo.training.config import CommonConfig, SftConfig, TrainConfig
from dpo.training.settings import make

TABLES = Path(__file__).parents[2] / "configs" / "study"
PAIRS = ("published", "repaired", "without-emoji")
"""What the pairs of a run are made of the source: nothing changed; re-paired; re-paired and all emoji taken out."""
_RECIPES: Mapping[str, type[CommonConfig]] = {"dpo": TrainConfig, "sft": SftConfig}
_OWN = ("recipe", "pairs")
_EVALUATION = ("prompts", "samples", "temperature", "max_new_tokens", "kl_prompts", "device")


@dataclass(frozen=True)
class Variant:
    """One row of a table for each model: what is trained, on which pairs, with which settings."""

    name: str
    recipe: str = "dpo"
    pairs: str = "repaired"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def config(self, model: str, dataset: Path, seed: int, directory: Path) -> CommonConfig:
        """The settings of one run, checked.

        Raises:
            ConfigError: a setting that the recipe does not have, or out of its range.
        """
        places = {"model": model, "dataset": str(dataset), "seed": seed, "output_dir": str(directory)}
        return make(_RECIPES[self.recipe], {**self.settings, **places})


@dataclass(frozen=True)
class StudyTable:
    """A question, the variants that answer it, the models that each is trained from, and who judges.

    `judge` is trained on the other half of the prompts than the runs (`half: 2` beside `half: 1`), from the first of
    `models`: it has seen none of their pairs.
    """

    name: str
    question: str
    models: Mapping[str, str]
    variants: Sequence[Variant]
    judge: Variant
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    def changed(self, updates: int | None, prompts: int | None) -> StudyTable:
        """The same table with another number of updates or prompts, None for what its file says."""

        def shorter(variant: Variant) -> Variant:
            more = {} if updates is None else {"max_steps": updates}
            return replace(variant, settings={**variant.settings, **more})

        return replace(
            self,
            variants=[shorter(one) for one in self.variants],
            judge=shorter(self.judge),
            evaluation={**self.evaluation, **({} if prompts is None else {"prompts": prompts})},
        )


def read_table(name: str) -> StudyTable:
    """A table by its name in `configs/study`, or by the path of a file.

    Raises:
        ConfigError: there is none, it is not valid YAML, or what it says cannot be trained.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else TABLES / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(one.stem for one in TABLES.glob("*.yaml")))
        raise ConfigError(f"{name} is no table of the study: choose from {known}, or name a .yaml file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: mend it there") from error
    parts = {"question": str, "models": dict, "settings": dict, "variants": dict, "judge": dict, "evaluation": dict}
    if not isinstance(content, dict) or set(content) - set(parts):
        raise ConfigError(f"{path} must have {', '.join(parts)} and nothing else")
    for part, kind in parts.items():
        if not isinstance(content.get(part, kind()), kind):
            raise ConfigError(f"{path}: {part} must be {'text' if kind is str else 'name: value lines'}")
    if not content.get("models") or not content.get("variants"):
        raise ConfigError(f"{path} names no models or no variants: there is nothing to train")
    common = {"half": 1, **content.get("settings", {})}
    variants = [_variant(path, name, common, own or {}) for name, own in content["variants"].items()]
    judge = _variant(path, "judge", {**common, "half": 2}, content.get("judge", {}))
    evaluation = content.get("evaluation", {})
    if unknown := set(evaluation) - set(_EVALUATION):
        raise ConfigError(f"{path}: evaluation has no {', '.join(sorted(unknown))}: it has {', '.join(_EVALUATION)}")
    table = StudyTable(path.stem, content.get("question", path.stem), content["models"], variants, judge, evaluation)
    for variant in (*variants, judge):
        for model in table.models.values():
            variant.config(model, Path("pairs.jsonl"), 0, Path("run"))
    return table


def _variant(path: Path, name: str, common: Mapping[str, Any], own: Any) -> Variant:
    if not isinstance(own, dict):
        raise ConfigError(f"{path}: {name} must be name: value lines")
    recipe, pairs = own.get("recipe", "dpo"), own.get("pairs", "repaired")
    for value, allowed in ((recipe, tuple(_RECIPES)), (pairs, PAIRS)):
        if value not in allowed:
            raise ConfigError(f"{path}: {name} says {str(value)[:80]!r}: choose from {', '.join(allowed)}")
    settings = {**common, **{key: value for key, value in own.items() if key not in _OWN}}
    return Variant(str(name), recipe, pairs, settings)
