"""`dpo chat`: talk with a policy in the terminal, alone or beside what it was tuned from."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any

from dpo.cli.generation import add_sampling, facts, label, running_engine, sampling_of, specs_of
from dpo.errors import ConfigError, DpoError
from dpo.generation.engine import Engine
from dpo.generation.jobs import Job
from dpo.generation.settings import Sampling
from dpo.generation.spec import PolicySpec, reference_of
from dpo.serving.service import Event

_HELP = """\
/reset           forget what was said
/seed N          other random numbers (now {seed})
/temperature X   0 is greedy (now {temperature:g})
/quit            leave (so does Ctrl-D); Ctrl-C stops an answer
With --compare both see the policy's answers as what was said."""
_FRAME_SECONDS = 0.04


def add_command(actions: Any) -> None:
    """Register the command."""
    command = actions.add_parser("chat", help="talk with a policy", description="Talk with a policy in the terminal.")
    command.add_argument("--policy", required=True, metavar="NAME", help="a name, a run, a directory or a hub id")
    command.add_argument("--base", action="store_true", help="talk with what the policy was tuned from instead")
    command.add_argument("--compare", action="store_true", help="show both side by side")
    command.add_argument("--prompt", metavar="TEXT", default=None, help="say this first")
    add_sampling(command)
    command.set_defaults(call=chat)


def chat(arguments: argparse.Namespace) -> int:
    """`dpo chat`: answers to standard output, everything else to standard error."""
    sampling = sampling_of(arguments)
    names = [arguments.policy]
    if arguments.base or arguments.compare:
        base = arguments.reference or reference_of(arguments.policy)
        if base is None:
            raise ConfigError(f"{arguments.policy} doesn't say what it was tuned from: name it with --reference NAME")
        names = [base, arguments.policy] if arguments.compare else [base]
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (arrow keys and history for `input`)
    with running_engine(arguments.device, arguments.dtype) as engine:
        return _Conversation(engine, specs_of(arguments, names), sampling).run(arguments.prompt)


class _Conversation:
    def __init__(self, engine: Engine, arms: Sequence[PolicySpec], sampling: Sampling) -> None:
        self.engine, self.arms, self.sampling = engine, arms, sampling
        self.turns: list[tuple[str, str]] = []

    def run(self, first: str | None) -> int:
        if sys.stdin.isatty():
            print(
                f"Chat with {' and '.join(label(arm.policy) for arm in self.arms)}. /help lists the commands.",
                file=sys.stderr,
            )
        typed = first
        while True:
            if typed is None:
                try:
                    typed = input("> " if sys.stdin.isatty() else "")
                except EOFError:
                    print(file=sys.stderr)
                    return 0
                except KeyboardInterrupt:
                    print("\n(Ctrl-D or /quit leaves)", file=sys.stderr)
                    continue
            text, typed = typed.strip(), None
            if text in ("/quit", "/exit"):
                return 0
            try:
                if text.startswith("/"):
                    print(self.command(text), file=sys.stderr, flush=True)
                elif text:
                    self.answer(text)
            except DpoError as error:
                print(f"dpo: {' '.join(str(error).split())}", file=sys.stderr, flush=True)

    def command(self, text: str) -> str:
        """Obey a line that begins with a slash; what to tell about it."""
        name, _, value = text[1:].partition(" ")
        if name == "reset":
            self.turns.clear()
            return "Forgotten."
        if name in ("seed", "temperature"):
            if not value.strip():
                raise ConfigError(f"/{name} needs a number: /{name} {getattr(self.sampling, name)}")
            known = {spec.name: getattr(self.sampling, spec.name) for spec in dataclasses.fields(Sampling)}
            self.sampling = Sampling.from_values({**known, name: value.strip()})
            return f"{name} is {getattr(self.sampling, name):g} now."
        if name == "help":
            return _HELP.format(seed=self.sampling.seed, temperature=self.sampling.temperature)
        raise ConfigError(f"There is no command /{name}: use /reset, /seed, /temperature, /help or /quit")

    def answer(self, text: str) -> None:
        """Let the arms answer, and remember what the last one (the policy) said."""
        # Turns travel as they are; the worker writes them with the policy's template and drops the oldest if needed.
        job = self.engine.submit(text, self.arms, self.sampling, turns=self.turns)
        screen = _Columns(job) if len(self.arms) > 1 and sys.stdout.isatty() else _Lines(job)
        try:
            for event in self.engine.follow(job):
                screen.take(event)
        except KeyboardInterrupt:
            self.engine.cancel(job.number)
        screen.close()
        answer = screen.texts[-1]
        if answer:
            self.turns.append((text, answer))


class _Lines:
    """One answer after the other; the first that is not finished is shown as it grows."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.texts = [""] * len(job.policies)
        self.shown = [0] * len(job.policies)
        self.ended: dict[int, str] = {}
        self.current = 0

    def take(self, event: Event) -> None:
        arm = event.get("arm", 0)
        if event["event"] in ("token", "done"):
            self.texts[arm] += event["text"]
        if event["event"] == "done":
            self.ended[arm] = facts(event)
        elif event["event"] == "failed":
            self.ended[arm] = f"dpo: {event['message']}"
        self.draw()

    def draw(self) -> None:
        while self.current < len(self.texts):
            arm = self.current
            new = self.texts[arm][self.shown[arm] :]
            if new and not self.shown[arm] and len(self.texts) > 1:
                print(f"── {label(self.job.policies[arm].policy)}")
            print(new, end="", flush=True)
            self.shown[arm] = len(self.texts[arm])
            if arm not in self.ended:
                return
            print(flush=True)
            print(self.ended[arm], file=sys.stderr, flush=True)
            self.current += 1

    def close(self) -> None:
        if self.current < len(self.texts):
            print(flush=True)


class _Columns(_Lines):
    """Two answers side by side, drawn over themselves while they grow."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.height, self.drawn = 0, 0.0

    def draw(self, force: bool = False) -> None:
        if not force and time.monotonic() - self.drawn < _FRAME_SECONDS:
            return
        self.drawn = time.monotonic()
        size = shutil.get_terminal_size()
        width = max((size.columns - 3 * (len(self.texts) - 1)) // len(self.texts), 12)
        columns = [
            [label(arm.policy)[:width], "", *_wrapped(text, width)]
            for arm, text in zip(self.job.policies, self.texts, strict=True)
        ]
        rows = max(map(len, columns))
        # What has left the screen at its top can't be drawn again: show the end of long answers, and all at the close.
        fitting = rows if force else min(rows, max(size.lines - 2, 3))
        lines = []
        for row in range(rows - fitting, rows):
            cells = [(column[row] if row < len(column) else "").ljust(width) for column in columns]
            lines.append(" │ ".join(cells).rstrip())
        up = f"\x1b[{self.height}A" if self.height else ""
        sys.stdout.write(up + "".join(f"\r\x1b[2K{line}\n" for line in lines))
        sys.stdout.flush()
        self.height = len(lines)

    def close(self) -> None:
        self.draw(force=True)
        for arm in sorted(self.ended):
            print(f"{label(self.job.policies[arm].policy)} {self.ended[arm]}", file=sys.stderr)


def _wrapped(text: str, width: int) -> list[str]:
    return [line for part in text.split("\n") for line in (textwrap.wrap(part, width) or [""])]
