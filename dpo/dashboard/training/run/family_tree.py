"""Where a run comes from and what came from it, told by the records beside it (no dash here)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo.counting import counted
from dpo.dashboard.choices import base_of, evaluation_link, run_link, sweep_link
from dpo.dashboard.sweeps import sweeps_of
from dpo.families import facts_of
from dpo.policies.names import BUNDLED
from dpo.publishing.evaluated import evaluated
from dpo.runs import BUNDLED_RUNS, Run

_MOST_ANCESTORS = 8


@dataclass(frozen=True)
class Relative:
    """One place in the line: what it is called, where a click leads, a line beneath, and its sign.

    `href` is None for what cannot be looked at: a model of the hub, or a run that is gone.
    """

    place: str
    name: str
    href: str | None = None
    about: str = ""
    family: str | None = None
    tuned: bool | None = None
    """Filled or hollow; None for what is no policy."""


def relatives(run: Run, runs: Sequence[Run]) -> list[Relative]:
    """The line of a run among the `runs` that can be looked at: base, start, data, itself, what follows from it."""
    known = {os.path.realpath(other.path): other for other in runs if not other.damaged}
    found = _ancestors(run, known)
    data = run.info.get("dataset") or {}
    if data.get("source"):
        train, held_out = data.get("train", 0), data.get("held_out", 0)
        source = str(data["source"]).rstrip("/").rpartition("/")[2]
        found.append(Relative("Data", source, None, f"{train:,} train, {held_out:,} held out"))
    done = run.progress.get("step")
    about = f"{_word(run)}, {counted(done, 'step')}" if isinstance(done, int) else _word(run)
    found.append(Relative("This run", run.name, None, about, run.family, run.kind == "dpo"))
    found += _children(run, known)
    for sweep in sweeps_of(runs):
        if any(other.path == run.path for other in sweep.runs):
            found.append(Relative("Sweep", sweep.name, sweep_link(sweep.key), counted(sweep.trials, "trial")))
    for made in evaluated(run):
        about = counted(made["prompts"], "prompt") + ("" if made["complete"] else ", not finished")
        found.append(Relative("Evaluation", made["directory"].name, evaluation_link(made["directory"]), about))
    return found


def _ancestors(run: Run, known: dict[str, Run]) -> list[Relative]:
    """What it was trained from, and what that was made from; the first is called base."""
    line: list[Relative] = []
    at: Run | None = run
    while at is not None and len(line) < _MOST_ANCESTORS and (name := base_of(at)) is not None:
        child, at = at, _run_of(name, at, known)
        if at is None:
            last = name.rstrip("/").rpartition("/")[2] or name
            line.append(Relative("", last, None, _gone(name, child), child.family, False))
        elif any(at.name == other.name for other in line):
            break  # a record that names itself
        else:
            line.append(Relative("", at.name, run_link(at.path), _word(at), at.family, at.kind == "dpo"))
    line.reverse()
    places = ["Start"] if len(line) == 1 else ["Base", *["Then"] * (len(line) - 2), "Start"]
    return [
        Relative(place, one.name, one.href, one.about, one.family, one.tuned)
        for place, one in zip(places, line, strict=False)
    ]


def _children(run: Run, known: dict[str, Run]) -> list[Relative]:
    mine = os.path.realpath(run.path)
    children = [
        other for other in known.values()
        if (name := base_of(other)) is not None and (start := _run_of(name, other, known)) is not None
        and os.path.realpath(start.path) == mine and other.path != run.path
    ]  # fmt: skip
    if not children:
        return []
    first, more = children[0], len(children) - 1
    about = _word(first) + (f", and {counted(more, 'other run')}" if more else "")
    return [Relative("Runs from it", first.name, run_link(first.path), about, first.family, first.kind == "dpo")]


def _run_of(name: str, child: Run, known: dict[str, Run]) -> Run | None:
    """The run whose policy or checkpoint a run began with; nothing on disk is opened for it.

    Runs that were moved, or packed, together with the folder that holds them still find each other in it.
    """
    path = BUNDLED_RUNS / BUNDLED[name] if name in BUNDLED else Path(name).expanduser()
    try:
        real = os.path.realpath(path)
    except ValueError:  # NUL or half a character
        return None
    found = known.get(real) or known.get(os.path.dirname(real))
    if found is None and path.parent.name == child.path.parent.name != "":
        return known.get(os.path.realpath(child.path.parent / path.name))
    return found


def _gone(name: str, child: Run) -> str:
    if name in BUNDLED:
        return "comes with dpo"
    if child.path.parent.resolve() == BUNDLED_RUNS.resolve():
        return "random weights" if name.endswith("-random") else "not kept with dpo"
    return "not among the runs here" if Path(name).is_absolute() or name.count("/") > 1 else "from the hub"


def _word(run: Run) -> str:
    facts = facts_of(run.info.get("family"))
    kind = {"dpo": "DPO", "sft": "SFT"}.get(run.kind, run.kind)
    return f"{run.label or (facts.label if facts else '')} {kind}".strip()
