"""What a sweep is to do: the YAML file of `dpo sweep`, checked before anything starts.

This module imports neither torch nor Optuna.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import yaml

from dpo.errors import ConfigError, StorageError, quoted
from dpo.files import write_json
from dpo.training.config import BEST_BY, TrainConfig
from dpo.training.settings import alone, make
from dpo.values import converted, inner, nearest

METHODS = ("grid", "random", "tpe")
PRUNINGS = ("median", "halving", "none")
OWN = frozenset({"output_dir", "resume"})
"""Settings that a sweep decides for each trial."""
_MOST_COMBINATIONS = 10_000
_MOST_TEXT = 64 * 1024  # bytes of a plan
_MOST_DEPTH = 8  # of lists and names within each other
SettingValue = bool | int | float | str | None


@dataclass(frozen=True)
class Choices:
    """A setting that takes one of some values.  A list (`loss_type`) is kept as its JSON text."""

    values: tuple[SettingValue, ...]


@dataclass(frozen=True)
class Range:
    """A setting between two bounds, both included; `log` draws its logarithm evenly."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False


Dimension = Choices | Range


@dataclass(frozen=True)
class SweepPlan:
    """A sweep: `trials` runs, each with `settings` and one value of every dimension of `search`."""

    name: str
    method: Literal["grid", "random", "tpe"]
    trials: int
    measure: str
    pruning: str
    seed: int
    settings: dict[str, Any]
    search: dict[str, Dimension]

    @property
    def more_is_better(self) -> bool:
        """The direction of the measure."""
        return BEST_BY[self.measure][1]

    def values(self, params: dict[str, Any]) -> dict[str, Any]:
        """The settings of a trial with these drawn values; lists are lists again."""
        hints = get_type_hints(TrainConfig)
        drawn = {
            name: json.loads(value) if get_origin(inner(hints[name])) is list and isinstance(value, str) else value
            for name, value in params.items()
        }
        return self.settings | drawn

    def combinations(self) -> list[dict[str, SettingValue]] | None:
        """Every point of the space, or None if a dimension has no end of values."""
        lists = [dimension.values if isinstance(dimension, Choices) else None for dimension in self.search.values()]
        known = [values for values in lists if values is not None]
        if len(known) < len(lists):
            return None
        return [dict(zip(self.search, point, strict=True)) for point in itertools.product(*known)]

    def as_json(self) -> dict[str, Any]:
        """The plan as it is stored in the sweep's database, to see whether the same sweep is meant."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]


def plan_file(directory: Path, name: str) -> Path:
    """Where a sweep leaves its plan for whoever looks at its runs."""
    return directory / ".trials" / f"{name}.json"


def write_plan(plan: SweepPlan, directory: Path) -> None:
    """Leave the plan beside the runs.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        write_json(plan_file(directory, plan.name), plan.as_json())
    except OSError as error:
        raise StorageError(f"{directory} cannot be written ({error.strerror}): name another --dir") from error


def read_plan(path: str | Path) -> SweepPlan:
    """The sweep described in a YAML file.

    Raises:
        ConfigError: what is wrong, where, and what to write instead.
    """
    path = Path(path)
    where = f"--config {path}"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from error
    return plan_of(text, where, path.stem)


def plan_of(text: str, where: str, usual: str) -> SweepPlan:
    """The sweep that a YAML text describes; `where` is named in errors, `usual` is its name if it gives none.

    Raises:
        ConfigError: what is wrong, where, and what to write instead.
    """
    try:
        content = _read(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number that is none
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        if isinstance(error, _RefusedError):
            raise ConfigError(f"{where}{line} {error.problem}") from error
        raise ConfigError(f"{where} is not valid YAML{line}: mend it there") from error
    if not isinstance(content, dict) or not isinstance(content.get("search"), dict) or not content["search"]:
        raise ConfigError(f"{where} has no 'search:' with settings to try, such as 'beta: [0.05, 0.1]'")
    _known(content, ("name", "method", "trials", "measure", "pruning", "seed", "settings", "search"), where)
    method = _one_of(content.get("method", "tpe"), METHODS, f"{where}: method")
    measure = _one_of(content.get("measure", "accuracy"), tuple(BEST_BY), f"{where}: measure")
    pruning = _one_of(content.get("pruning", "median"), PRUNINGS, f"{where}: pruning")
    settings = _settings(content.get("settings") or {}, where)
    search = {_name(name, where): _dimension(_name(name, where), given, where)
              for name, given in content["search"].items()}  # fmt: skip
    if both := sorted(set(settings) & set(search)):
        raise ConfigError(f"{where}: {both[0]} is under 'settings:' and under 'search:': keep one of them")
    name = str(content.get("name") or usual)
    if not re.fullmatch(r"[\w.()+-]+", name) or name.strip(".") == "":
        raise ConfigError(f"{where}: name {quoted(name)} is no folder's name: use letters, digits, '-' and '_'")
    trials = content.get("trials")
    if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int) or trials < 1):
        raise ConfigError(f"{where}: trials is {quoted(trials)}, it must be a whole number of 1 or more")
    seed = content.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise ConfigError(f"{where}: seed is {quoted(seed)}, it must be a whole number from 0 on")
    if measure == "win_rate" and not {"eval_win_rate", "eval_judge"} <= settings.keys():
        raise ConfigError(f"{where}: measure win_rate needs eval_win_rate and eval_judge under 'settings:'")
    plan = SweepPlan(name, method, trials or 0, measure, pruning, seed, settings, search)  # type: ignore[arg-type]
    return _counted(plan, where)


def _counted(plan: SweepPlan, where: str) -> SweepPlan:
    """The plan with its number of trials; every combination of a grid is checked as `dpo train` would."""
    if plan.method == "grid":
        # A stepped range is a list of values to a grid.
        plan = dataclasses.replace(
            plan, search={name: _points(name, given, where) for name, given in plan.search.items()}
        )
    size = math.prod(len(part.values) if isinstance(part, Choices) else _MOST_COMBINATIONS + 1
                     for part in plan.search.values())  # fmt: skip
    if plan.method == "grid":
        if size > _MOST_COMBINATIONS:
            raise ConfigError(f"{where}: the grid has {size} combinations: use method random or tpe with 'trials:'")
        if plan.trials not in (0, size):
            raise ConfigError(f"{where}: the grid has {size} combinations, trials is {plan.trials}: leave trials out")
        plan = dataclasses.replace(plan, trials=size)
        points = plan.combinations() or []
    else:
        if plan.trials == 0:
            raise ConfigError(f"{where}: method {plan.method} needs a number of runs: add 'trials: 12'")
        if plan.trials > size:
            raise ConfigError(f"{where}: {plan.trials} trials, but there are {size} combinations only: use method grid")
        points = [
            {name: part.values[0] if isinstance(part, Choices) else part.low for name, part in plan.search.items()}
        ]
    for point in points:
        try:
            make(TrainConfig, plan.values(point))
        except ConfigError as error:
            tried = ", ".join(f"{name}={value}" for name, value in point.items())
            raise ConfigError(f"{where}: a trial with {tried} could not run: {error}") from error
    return plan


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that no plan needs."""


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which write a text of bytes out as gigabytes, and of bounded depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise _RefusedError(problem="has an alias (*name): write out what it stands for", problem_mark=mark)
        if self.depth >= _MOST_DEPTH:
            raise _RefusedError(problem=f"has more than {_MOST_DEPTH} levels: it needs three", problem_mark=mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _read(text: str) -> Any:
    if len(text.encode(errors="replace")) > _MOST_TEXT:
        raise _RefusedError(problem=f"is over {_MOST_TEXT // 1024} kB long: shorten it")
    return yaml.load(text, _PlainLoader)


def _points(name: str, given: Dimension, where: str) -> Choices:
    if isinstance(given, Choices):
        return given
    if given.step is None:
        raise ConfigError(f"{where}: a grid needs values of {name}: list them, or add 'step:' to its range")
    count = math.floor((given.high - given.low) / given.step + 1e-9) + 1
    if count > _MOST_COMBINATIONS:
        raise ConfigError(f"{where}: the range of {name} has {count} steps: take wider ones")
    values = [given.low + place * given.step for place in range(count)]
    return Choices(tuple(int(value) if given.whole else float(f"{value:.12g}") for value in values))


def _settings(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: 'settings:' must be 'name: value' lines, it is {type(given).__name__}")
    values = {_name(name, where): value for name, value in given.items()}
    # As dpo train reads them ("1e-5" is text to YAML).
    return {name: _alone(name, value, where) for name, value in values.items()}


def _dimension(name: str, given: Any, where: str) -> Dimension:
    """A list of values, or `low` and `high` with `log` or `step`."""
    if isinstance(given, list) and given:
        values = [_coerced(name, value, where) for value in given]
        if len(set(values)) < len(values):
            raise ConfigError(f"{where}: {name} names a value twice: {quoted(given)}")
        return Choices(tuple(values))
    if not isinstance(given, dict):
        raise ConfigError(
            f"{where}: {name} is {quoted(given)}: give a list of values, or {{low: X, high: Y, log: true}}"
        )
    return _range(name, given, where)


def _range(name: str, given: dict[Any, Any], where: str) -> Range:
    _known(given, ("low", "high", "log", "step"), f"{where}: {name}")
    if "low" not in given or "high" not in given:
        raise ConfigError(f"{where}: the range of {name} needs both 'low:' and 'high:'")
    low, high = (_coerced(name, given[bound], where) for bound in ("low", "high"))
    if isinstance(low, bool) or isinstance(high, bool) or not isinstance(low, int | float):
        raise ConfigError(f"{where}: {name} is not a number: list its values")
    assert isinstance(high, int | float)
    if not low < high:
        raise ConfigError(f"{where}: the range of {name} goes from {low} to {high}: 'low:' must be below 'high:'")
    log, step = given.get("log", False), given.get("step")
    if not isinstance(log, bool):
        raise ConfigError(f"{where}: log of {name} is {quoted(log)}, it must be true or false")
    if log and low <= 0:
        raise ConfigError(f"{where}: the logarithmic range of {name} begins at {low}: it must be above 0")
    if step is not None:
        step = converted(f"step of {name}", step, float, f"{where}: ")
        if log or step <= 0 or (isinstance(low, int) and step != int(step)):
            raise ConfigError(f"{where}: step of {name} is {step:g}: it must be above 0, in its unit, and without log")
    return Range(low, high, log, step, isinstance(low, int))


def _coerced(name: str, value: Any, where: str) -> SettingValue:
    """One value in the field's type and range, checked alone (contradictions are checked by trial)."""
    fitted = _alone(name, value, where)
    return json.dumps(fitted) if isinstance(fitted, list) else fitted  # type: ignore[no-any-return]


def _alone(name: str, value: Any, where: str) -> Any:
    try:
        return alone(name, value, TrainConfig, where)
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error


def _name(given: Any, where: str) -> str:
    name = str(given).replace("-", "_")
    names = [spec.name for spec in dataclasses.fields(TrainConfig) if spec.name not in OWN]
    if name in OWN:
        raise ConfigError(f"{where}: {name} is set by the sweep for each trial: leave it out")
    if name not in names:
        hint = nearest(name, names)
        raise ConfigError(f"{where}: no setting is called {quoted(name)}{hint}; see dpo train --help")
    return name


def _known(given: dict[Any, Any], names: tuple[str, ...], where: str) -> None:
    for name in given:
        if name not in names:
            hint = nearest(name, names)
            raise ConfigError(f"{where}: {quoted(name)} is not known{hint}: there are {', '.join(names)}")


def _one_of(value: Any, names: tuple[str, ...], where: str) -> str:
    if value not in names:
        raise ConfigError(f"{where} is {quoted(value)}: choose from {', '.join(names)}")
    return str(value)
