"""Command-line flags from the settings' dataclasses, and parsers that fail in one line."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_origin, get_type_hints

from dpo.errors import ConfigError, DpoError, RunError
from dpo.policies.names import DEFAULT_RUNS
from dpo.runs import BUNDLED_RUNS
from dpo.runs.files import one_line
from dpo.training.config import RunConfig
from dpo.training.settings import COMMANDS, make, read_yaml, stored_run
from dpo.values import inner, nearest

Config = TypeVar("Config", bound=RunConfig)


class Parser(argparse.ArgumentParser):
    """Raises one line instead of printing the usage over it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", _Help)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read a command line.

        Raises:
            ConfigError: a flag or value that the command does not have, or one that it needs.
        """
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise ConfigError(self._not_known(unknown[0].split("=")[0], found))
        return found

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise ConfigError(f"{message}; see {self.prog} --help")

    def _not_known(self, word: str, found: argparse.Namespace) -> str:
        """What is wrong with a word: a flag of another command, one written wrongly, or too many words."""
        command, parts = self, self._commands()
        while parts:
            dest, choices = parts
            command = choices[getattr(found, dest)]
            parts = command._commands()
        own = set(command._option_string_actions)
        _, commands = self._commands() or ("", {})
        others = [other.prog for other in commands.values() if word in other._option_string_actions]
        if not word.startswith("-"):
            return f"{word!r} is one word too many; see {command.prog} --help"
        if others and word not in own:
            return f"{command.prog} has no {word}, {' and '.join(others[:2])} has; see {command.prog} --help"
        return f"unknown flag {word}{nearest(word, own)}; see {command.prog} --help"

    def _commands(self) -> tuple[str, dict[str, Parser]] | None:
        """The name under which the chosen command is kept, and all commands of this parser."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return str(action.dest), dict(action.choices)
        return None


class _Help(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=100)


def add_settings(parser: argparse.ArgumentParser, config: type[RunConfig]) -> None:
    """One flag for each field of `config`, in the field's group."""
    hints = get_type_hints(config)
    defaults = dataclasses.asdict(config())
    groups: dict[str, Any] = {}
    fields = sorted(dataclasses.fields(config), key=lambda spec: list(_GROUPS).index(spec.metadata["group"]))
    for spec in fields:
        title = spec.metadata["group"]
        group = groups.setdefault(title, parser.add_argument_group(title))
        flag = "--" + spec.name.replace("_", "-")
        default = defaults[spec.name]
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        known = "" if default is None or default is False or default == [] else f" [{shown}]"
        options: dict[str, Any] = {
            "dest": spec.name,
            "default": argparse.SUPPRESS,
            "help": (spec.metadata["help"] + known).replace("%", "%%"),
        }
        kind = inner(hints[spec.name])
        if spec.name == "resume":
            group.add_argument(flag, nargs="?", const="", metavar="DIR", **options)
        elif spec.name == "dataset":
            group.add_argument(flag, action="append", metavar="NAME", **options)
        elif kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
        elif get_origin(kind) is list:
            group.add_argument(flag, nargs="+", metavar="X", **options)
        else:
            choices = spec.metadata["choices"]
            metavar = "{" + ",".join(choices) + "}" if choices else _METAVARS.get(kind, "TEXT")
            group.add_argument(flag, metavar=metavar, **options)
    groups["record"].add_argument(
        "--config", dest="config_file", metavar="FILE.yaml", default=None, help="settings by name; flags win over them"
    )


def settings(namespace: argparse.Namespace, config: type[Config]) -> Config:
    """The config of a command line: defaults, then the YAML file, then the flags.

    Raises:
        ConfigError: unknown, out of range or contradictory values.
        RunError: `--resume` without a run to go on with.
    """
    names = {spec.name for spec in dataclasses.fields(config)}
    given = {name: value for name, value in vars(namespace).items() if name in names}
    if isinstance(given.get("dataset"), list):
        given["dataset"] = ",".join(given["dataset"])
    values = (read_yaml(namespace.config_file, config) if namespace.config_file else {}) | given
    if "resume" not in values or values["resume"] is None:
        return make(config, values)
    directory = values.pop("resume") or values.get("output_dir")
    if not directory:
        raise ConfigError("--resume needs the run's directory: --resume DIR, or --output-dir DIR --resume")
    return make(config, _stored(directory, values, config))


def _stored(directory: str, values: dict[str, Any], config: type[Config]) -> dict[str, Any]:
    """The stored settings of the run to resume; given ones may repeat but not change them."""
    run = stored_run(directory)
    if run.kind != config.kind:
        command = COMMANDS.get(run.kind, "train")
        raise ConfigError(f"{directory} was made by dpo {command}: use dpo {command} --resume {directory}")
    known = {spec.name for spec in dataclasses.fields(config)}
    stored = {name: value for name, value in run.config.items() if name in known - {"resume"}}
    asked = dataclasses.asdict(make(config, stored | values))
    changed = [name for name in values if name != "output_dir" and asked[name] != stored.get(name)]
    if changed:
        name = changed[0]
        raise ConfigError(
            f"--resume goes on with the run's own settings, and --{name.replace('_', '-')} was {stored.get(name)}, "
            f"not {asked[name]}: leave it out, or start a new run"
        )
    return stored | {"resume": str(directory)}


def add_columns(parser: argparse.ArgumentParser) -> None:
    """The flags that say how rows are read; `dpo.preferences.spec.columns_of` takes them."""
    parser.add_argument("--split", metavar="TEXT", help="split of a hub dataset [train]")
    for role in ("prompt", "chosen", "rejected"):
        parser.add_argument(f"--{role}-column", metavar="TEXT", help="if it is not recognised")
    parser.add_argument("--layout", metavar="TEXT", help="how to read data that can be read in several ways")
    parser.add_argument("--swap", action="store_true", help="take the rejected answers for the chosen ones")


def add_device(parser: Any) -> None:
    """The flag that says where a policy computes; a parser or a group of its flags takes it."""
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps [auto]")


def run_roots(arguments: argparse.Namespace) -> list[Path]:
    """The directories that are searched for runs: those of `--runs`, else `runs` here and the bundled ones.

    Raises:
        RunError: one of them is no directory.
    """
    if arguments.runs:
        roots = [Path(root) for root in arguments.runs]
        for root in roots:
            if not root.is_dir():
                raise RunError(f"--runs {root} is not a directory: check the path")
        return roots
    return [DEFAULT_RUNS, BUNDLED_RUNS]


def fail(error: DpoError, stream: Any) -> int:
    """Print the one line and return the exit code."""
    print(f"dpo: {one_line(str(error))}", file=stream)
    return 2


_METAVARS = {int: "N", float: "X", str: "TEXT"}
_GROUPS = ("model and data", "preference loss", "adapters", "optimisation", "machine", "record")
