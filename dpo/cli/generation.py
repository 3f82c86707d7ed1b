"""`dpo generate` and `dpo compare`: prompts to the engine, its events to the terminal."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from dpo.cli.arguments import add_device
from dpo.counting import counted
from dpo.errors import ConfigError
from dpo.families import FAMILIES
from dpo.generation.engine import Engine
from dpo.generation.jobs import Job
from dpo.generation.settings import Sampling
from dpo.generation.spec import PolicySpec, reference_of
from dpo.policies.names import BUNDLED, check_weights
from dpo.serving.service import Event
from dpo.values import number, whole

ARMS = tuple(BUNDLED)
_LABELS = {facts.base: f"{facts.label} base" for facts in FAMILIES} | {
    facts.tuned: f"{facts.label} DPO" for facts in FAMILIES
}
_ENDS = {"eos": "ended itself", "length": "hit the token limit", "cancelled": "stopped", "stop": "met a stop text"}
_MEMORY = 1 << 40  # a command's policies all stay loaded


def add_commands(actions: Any) -> None:
    """Register the two commands."""
    one = actions.add_parser("generate", help="let one policy answer a prompt")
    one.add_argument(
        "--policy", required=True, metavar="NAME",
        help="a name, a run, a directory, a hub id, or http://host:port/v1#model of a remote server; "
        "NAME#ctranslate2 and NAME#ctranslate2-int8 name its engine too",
    )  # fmt: skip
    add_prompt(one)
    one.set_defaults(call=generate)

    several = actions.add_parser("compare", help="let several policies answer one prompt")
    several.add_argument(
        "--policies", nargs="+", metavar="NAME", default=list(ARMS), help="[the four bundled policies]"
    )
    add_prompt(several)
    several.set_defaults(call=compare)


def add_prompt(command: Any) -> None:
    """Flags of both commands."""
    command.add_argument("--prompt", required=True, metavar="TEXT", help="- reads it from standard input")
    command.add_argument(
        "--samples", default=1, metavar="N", help="answers of each policy, with seeds from --seed on [1]"
    )
    add_sampling(command)


def add_sampling(command: Any) -> None:
    """One flag for each field of `Sampling`, and those that say how a policy answers."""
    sampling = command.add_argument_group("sampling")
    for spec in dataclasses.fields(Sampling):
        flag, help_text = "--" + spec.name.replace("_", "-"), spec.metadata["help"]
        if spec.name == "stop":
            sampling.add_argument(flag, action="append", metavar="TEXT", default=None, help=help_text)
        elif isinstance(spec.default, bool):
            sampling.add_argument(flag, action=argparse.BooleanOptionalAction, default=spec.default, help=help_text)
        else:
            metavar = "N" if isinstance(spec.default, int) else "X"
            sampling.add_argument(flag, metavar=metavar, default=spec.default, help=f"{help_text} [{spec.default}]")
    how = command.add_argument_group("how a policy answers")
    how.add_argument(
        "--lambda", dest="strengths", nargs="+", metavar="X", default=["1"],
        help="alignment strength: 0 is the reference, 1 the policy, up to 3; one, or one for each policy [1]",
    )  # fmt: skip
    how.add_argument(
        "--reference", metavar="NAME", help="what lambda is measured from [what the policy was tuned from]"
    )
    how.add_argument(
        "--engine", default="torch", metavar="NAME",
        help="torch, or ctranslate2 or ctranslate2-int8 for faster plain sampling on a CPU [torch]",
    )  # fmt: skip
    how.add_argument(
        "--dtype", default="fp32", metavar="NAME",
        help="of the weights: fp32, or bf16 where the device has it: less memory, another rounding [fp32]",
    )  # fmt: skip
    add_device(how)


def sampling_of(arguments: argparse.Namespace) -> Sampling:
    """The sampling settings of a command line.

    Raises:
        ConfigError: a value is no number or out of its limits.
    """
    return Sampling.from_values({spec.name: getattr(arguments, spec.name) for spec in dataclasses.fields(Sampling)})


def specs_of(arguments: argparse.Namespace, policies: Sequence[str]) -> list[PolicySpec]:
    """The arms of a command line.

    One lambda is for every policy that was tuned from another one; a base has nothing to turn.

    Raises:
        ConfigError: as many lambdas as neither one nor policies, or one out of its limits.
    """
    given = [number("lambda", value) for value in arguments.strengths]
    if len(given) not in (1, len(policies)):
        raise ConfigError(f"--lambda has {len(given)} values for {len(policies)} policies: give one, or one for each")
    several = len(policies) > 1 and len(given) == 1
    specs = []
    for index, name in enumerate(policies):
        strength = given[0] if len(given) == 1 else given[index]
        named = PolicySpec.of(name)
        if several and strength != 1.0 and not arguments.reference and reference_of(named.policy) is None:
            strength = 1.0
        engine = arguments.engine if named.engine == "torch" and not named.remote else named.engine
        specs.append(replace(named, strength=strength, reference=arguments.reference, engine=engine).validate())
    return specs


@contextmanager
def running_engine(device: str, dtype: str) -> Iterator[Engine]:
    """An engine for the time of a command.

    Raises:
        ConfigError: the device has no weights of this type.
    """
    if check_weights(dtype) != "fp32":
        from dpo.policies.loading import weights_dtype

        weights_dtype(dtype, device)
    engine = Engine(device, memory=_MEMORY, dtype=dtype)
    try:
        yield engine
    finally:
        engine.close()


def generate(arguments: argparse.Namespace) -> int:
    """`dpo generate`: the text goes to standard output, the facts about it to standard error."""
    return _speak(arguments, [arguments.policy], headings=False)


def compare(arguments: argparse.Namespace) -> int:
    """`dpo compare`: all arms write at once and are shown in order; one that fails does not stop the others."""
    return _speak(arguments, arguments.policies, headings=True)


def _speak(arguments: argparse.Namespace, policies: Sequence[str], headings: bool) -> int:
    sampling = sampling_of(arguments)
    specs = specs_of(arguments, policies)
    samples = whole("samples", arguments.samples)
    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    with running_engine(arguments.device, arguments.dtype) as engine:
        job = engine.submit(prompt, specs, sampling, samples=samples)
        return 2 if show(engine, job, headings) else 0


def show(engine: Engine, job: Job, headings: bool) -> int:
    """Print a job's answers in order while they are written; the number of arms that failed."""
    answers, failed = _InOrder(job, headings), 0
    for event in engine.follow(job):
        failed += event["event"] == "failed"
        answers.add(event)
    return failed


class _InOrder:
    """Prints a job's answers one after another; what comes for a later one waits until it is its turn."""

    def __init__(self, job: Job, headings: bool) -> None:
        self.job, self.headings = job, headings
        self.left = [(arm, sample) for arm in range(len(job.policies)) for sample in range(job.samples)]
        self.waiting: dict[tuple[int, int], list[Callable[[], None]]] = {key: [] for key in self.left}
        self.ended: set[tuple[int, int]] = set()
        self.opened = False  # whether the first of those left has its heading

    def add(self, event: Event) -> None:
        """Print an event, or keep it for later."""
        keys = [(event["arm"], event["sample"])] if "sample" in event else []
        if event["event"] in ("failed", "skipped"):
            keys = [key for key in self.waiting if key[0] == event["arm"] and key not in self.ended]
        for key in keys:
            self.waiting[key].append(_printer(event, self.headings, first=key == keys[0]))
            if event["event"] != "token":
                self.ended.add(key)
        while self.left and self._print(self.left[0]):
            del self.left[0]
            self.opened = False

    def _print(self, key: tuple[int, int]) -> bool:
        """Print what is there of an answer; whether that was all."""
        if self.waiting[key] and not self.opened:
            self._heading(key)
            self.opened = True
        for act in self.waiting[key]:
            act()
        self.waiting[key].clear()
        return key in self.ended

    def _heading(self, key: tuple[int, int]) -> None:
        if self.headings:
            print(_heading(self.job, key[0]), flush=True)
        if self.job.samples > 1:
            print(f"· seed {self.job.sampling.seed + key[1]}", flush=True)


def _printer(event: Event, headings: bool, first: bool) -> Callable[[], None]:
    def act() -> None:
        if event["event"] == "token":
            print(event["text"], end="", flush=True)
        elif event["event"] == "done":
            print(event["text"], flush=True)
            print(facts(event), file=sys.stderr, flush=True)
            if headings:
                print(flush=True)
        elif event["event"] == "failed" and first:
            print(f"dpo: {event['message']}", file=sys.stderr, flush=True)
            if headings:
                print(flush=True)

    return act


def facts(event: Event) -> str:
    """How an answer went, on one line."""
    return f"[{counted(event['tokens'], 'token')} · {event['tokens_per_second']:.0f} tok/s · {_ENDS[event['end']]}]"


def label(name: str) -> str:
    """A policy's name as the terminal shows it."""
    return f"{_LABELS[name]} ({name})" if name in _LABELS else name


def _heading(job: Job, arm: int) -> str:
    spec = job.policies[arm]
    return f"── {label(spec.policy)}" + (f" · lambda {spec.strength:g}" if spec.strength != 1.0 else "")
