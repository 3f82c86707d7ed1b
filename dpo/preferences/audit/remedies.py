"""The commands that an audit advises, as they can be copied."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from dpo.preferences.audit.result import Audit, Finding
from dpo.preferences.normalise import Columns
from dpo.preferences.reading import SUFFIXES
from dpo.preferences.spec import DataSpec

STRIP = "--strip-shortcut "
"""The flag that takes shortcuts out of both answers, before their names."""


def column_flags(columns: Columns) -> str:
    """The flags of `dpo data` and `dpo train` that say how columns are read, each after a blank."""
    given = [(f"--{role}-column", name) for role, name in columns.roles().items() if name]
    given += [("--layout", columns.layout)] if columns.layout else []
    flags = [f"{flag} {shlex.quote(str(value))}" for flag, value in given]
    return "".join(f" {flag}" for flag in [*flags, *(["--swap"] if columns.swap else [])])


def reading_flags(spec: DataSpec) -> str:
    """The same for a whole description, with its split and the share held out where they aren't the usual ones."""
    usual = DataSpec(spec.source)
    split = f" --split {shlex.quote(spec.split)}" if spec.split != usual.split else ""
    held_out = f" --eval-fraction {spec.eval_fraction:g}" if spec.eval_fraction != usual.eval_fraction else ""
    return split + column_flags(spec.columns) + held_out


def advised(findings: Iterable[Finding]) -> list[str]:
    """The flags of `dpo data clean` that findings advise, each once; what is stripped, together at the end."""
    flags = [
        finding.remedy.partition(" or ")[0].partition(" leaves ")[0].partition(",")[0].partition(";")[0]
        for finding in findings
        if finding.remedy.startswith("--")
    ]
    strips = dict.fromkeys(flag.removeprefix(STRIP) for flag in flags if flag.startswith(STRIP))
    others = list(dict.fromkeys(flag for flag in flags if not flag.startswith(STRIP)))
    if "--repair-mispaired" in others and "--drop-mispaired" in others:
        others.remove("--drop-mispaired")  # repairing leaves these rows out, too
    return others + ([STRIP + " ".join(strips)] if strips else [])


def cleaned_name(source: str, directory: Path = Path()) -> str:
    """A file in a directory that isn't there yet: "pairs-cleaned.jsonl" of "data/pairs.jsonl.gz"."""
    stem = Path(source).name
    for suffix in (".gz", *SUFFIXES):
        stem = stem.removesuffix(suffix)
    names = (f"{stem or 'pairs'}-cleaned{number}.jsonl" for number in ("", *(f"-{n}" for n in range(2, 1000))))
    return next(
        name for name in names if not (directory / name).exists() and not (directory / f"{name}.log.jsonl").exists()
    )


def clean_command(source: str, findings: Iterable[Finding], flags: str = "") -> str | None:
    """`dpo data clean` with what findings advise; None if that's nothing. `flags` say how the source is read."""
    remedies = advised(findings)
    if not remedies:
        return None
    output = shlex.quote(cleaned_name(source))
    return f"dpo data clean {shlex.quote(source)}{flags} --output {output} {' '.join(remedies)}"


def mend_mispaired(result: Audit, spec: DataSpec) -> str | None:
    """The end of a sentence: how to mend mispaired rows of a training's data; None if there are none, or no remedy."""
    from dpo.preferences.audit.mispaired import CODES

    found = [finding for finding in result.severe() if finding.code in CODES]
    sources, flags = list(spec.sources()), reading_flags(spec)
    if not found:
        return None
    if len(sources) > 1:  # rows of a mix are numbered on: which source they are of is told by its own audit
        return "find out which source it is: " + "; ".join(f"dpo data audit {shlex.quote(s)}{flags}" for s in sources)
    command = clean_command(sources[0], found, flags)
    if command is None:
        return None
    output = shlex.quote(cleaned_name(sources[0]))
    return f"{command}, then train with --dataset {output}"
