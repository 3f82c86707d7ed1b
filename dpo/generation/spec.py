"""Which policy is asked and how, in plain values (no torch here)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from dpo.errors import ConfigError, DpoError, quoted
from dpo.generation.settings import check_lambda
from dpo.policies.names import BUNDLED, DEFAULT_RUNS, SHORT_NAMES, base_of, resolve
from dpo.runs.files import read_object
from dpo.runs.schema import fit_run
from dpo.values import number

EngineName = Literal["torch", "ctranslate2", "ctranslate2-int8"]
Turns = tuple[tuple[str, str], ...]
_REMOTE = ("http://", "https://")
MOST_TURNS = 64
"""Earlier turns of a conversation that a request may hold: each that has no room costs an encoding."""
MOST_TURNS_TEXT = 100_000
"""Characters of all of them."""
_LEFT_OUT = "plain sampling: same noise, λ and tint do not act here"


@dataclass(frozen=True)
class PolicySpec:
    """A policy by name, and how it answers.

    `policy` is what `load_policy` takes, or `http://host:port/v1#model`: a remote OpenAI-compatible
    server.  `strength` is the alignment strength lambda.  `reference` is what lambda and log-ratios
    are measured from; without it, what the policy was tuned from.  `turns` are its earlier
    turns, (prompt, answer), where policies have conversations of their own.
    """

    policy: str
    strength: float = 1.0
    reference: str | None = None
    engine: EngineName = "torch"
    turns: Turns = ()

    @property
    def remote(self) -> bool:
        """Whether another server answers."""
        return self.policy.startswith(_REMOTE)

    @property
    def note(self) -> str | None:
        """What a reader should know of a policy that our own loop does not serve."""
        if self.remote:
            return f"Answered by another server, {_LEFT_OUT}"
        if self.engine == "torch":
            return None
        return f"CTranslate2 {'int8' if self.engine.endswith('int8') else 'float32'}, {_LEFT_OUT}"

    @classmethod
    def of(cls, value: Any) -> Self:
        """From a name, or an object such as `{"policy": "demo/t5-dpo", "lambda": 1.4}`.

        A name may end in its engine: `demo/t5-dpo#ctranslate2`, `demo/t5-dpo#ctranslate2-int8`.

        Raises:
            ConfigError: neither, an unknown field, or a value out of range.
        """
        if isinstance(value, cls):
            return value.validate()
        if isinstance(value, str):
            policy, engine = _split(value)
            return cls(policy, engine=engine)
        if not isinstance(value, dict) or not isinstance(value.get("policy"), str):
            raise ConfigError('a policy is a name or an object such as {"policy": "demo/t5-dpo", "lambda": 1.4}')
        unknown = set(value) - {"policy", "lambda", "reference", "engine", "turns"}
        if unknown:
            raise ConfigError(
                f"unknown field {quoted(sorted(unknown)[0])} of a policy: use policy, lambda, reference, engine, turns"
            )
        strength = 1.0 if value.get("lambda") is None else number("lambda", value["lambda"])
        reference = value.get("reference") or None
        if reference is not None and not isinstance(reference, str):
            raise ConfigError(f"reference is {quoted(reference)}: it must be a policy's name")
        policy, engine = _split(value["policy"])
        return cls(policy, strength, reference, value.get("engine") or engine, _turns(value.get("turns"))).validate()

    def validate(self) -> Self:
        """Itself, if its parts go together.

        Raises:
            ConfigError: they don't, or lambda is out of range.
        """
        check_lambda(self.strength)
        if self.engine not in get_args(EngineName):
            raise ConfigError(f"engine is {quoted(self.engine)}: use {', '.join(get_args(EngineName))}")
        if self.strength != 1.0 and (self.remote or self.engine != "torch"):
            where = "a remote server" if self.remote else self.engine
            raise ConfigError(f"lambda is {self.strength:g}, but {where} only answers as the policy is: use lambda 1")
        return self


def _split(name: str) -> tuple[str, EngineName]:
    policy, mark, engine = name.rpartition("#")
    for known in get_args(EngineName):
        if mark and engine == known and not policy.startswith(_REMOTE):
            return policy, known
    return name, "torch"


def _turns(value: Any) -> Turns:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(
        isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(text, str) for text in turn)
        for turn in value
    ):
        raise ConfigError('turns must be a list of earlier turns, such as [["Do you like tea?", "I do!"]]')
    if len(value) > MOST_TURNS:
        raise ConfigError(f"turns has {len(value)} entries: send the last {MOST_TURNS} at most")
    letters = sum(len(text) for turn in value for text in turn)
    if letters > MOST_TURNS_TEXT:
        raise ConfigError(f"turns has {letters:,} characters: send the last {MOST_TURNS_TEXT:,} at most")
    return tuple((question, answer) for question, answer in value)


def reference_of(name: str) -> str | None:
    """Name of the policy that `name` was tuned from, or None if its files don't tell.

    An adapter says its base; a run says the model it started from.
    """
    try:
        source = resolve(name)
        if source.kind == "hub":
            return None
        directory = Path(source.location)
        if source.adapter:
            return base_of(directory) or None
    except DpoError:
        return None
    for record in (directory / "run.json", directory.parent / "run.json"):
        try:
            info, _ = fit_run(read_object(record))
        except (OSError, ValueError):
            continue
        if info.get("kind") == "dpo":
            return (info.get("config") or {}).get("model") or None
    return None


def permitted(
    name: str, roots: Sequence[Path], remotes: Sequence[str], hub: Callable[[str], bool] = lambda _: False
) -> None:
    """Refuse names that a web request must not reach: directories outside `roots`, servers not in `remotes`.

    Nothing is read from such a place, and the message is the same whether it exists or not.

    Args:
        hub: whether a model of the Hugging Face hub may be named, by its id.

    Raises:
        ConfigError: with what is allowed.
    """
    name = name.strip()
    if name in BUNDLED:
        return
    if name.startswith(_REMOTE):
        if name.partition("#")[0].rstrip("/") not in {remote.rstrip("/") for remote in remotes}:
            raise ConfigError(f"{name[:80]!r} is not a server this one may ask: start it with --remote NAME=URL")
        return
    try:
        directory = _directory_of(name)
        if directory is None:
            if not hub(SHORT_NAMES.get(name, name)):
                raise ConfigError(
                    f"{name[:80]!r} is neither bundled nor a run shown here: other models of the hub are asked if the "
                    "server was started with --allow-hub"
                )
            return
        resolved = directory.expanduser().resolve()
        if any(resolved != root.resolve() and resolved.is_relative_to(root.resolve()) for root in roots):
            return
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, half a character, no such user, a loop of links
        pass
    raise ConfigError(f"{name[:80]!r} is not in a directory of runs that this server reads: start it with --runs DIR")


def _directory_of(name: str) -> Path | None:
    """The directory that `resolve` would take for `name`, there or not; None for a name of the hub."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or name.startswith("~"):
        return path
    if name in SHORT_NAMES:
        return None
    return next((place for place in (path, DEFAULT_RUNS / name) if place.is_dir()), None)
