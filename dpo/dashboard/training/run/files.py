"""The files of a run, what each is for, and the routes that send one (no dash here)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from flask import Flask, Response, request, send_file

from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.training.run.commands import is_adapter
from dpo.dashboard.web.downloads import attachment
from dpo.errors import RunError, quoted
from dpo.publishing.card import Publication, base_on_the_hub, model_card
from dpo.publishing.layout import is_tokenizer, is_weights
from dpo.runs import Run
from dpo.runs.files import checkpoint_step, open_file, whole_characters
from dpo.runs.record import AUDIT, EVALUATIONS, HARDWARE, METRICS, NOTE, RUN, SAMPLES

_MOST_FILES = 300
_MOST_BYTES = 1 << 42
_PURPOSES = {
    RUN: "settings, data, versions, how far it came", METRICS: "measures, a line for each logged step",
    SAMPLES: "answers to the probe prompts", HARDWARE: "memory, power and utilisation", NOTE: "note and tags",
    AUDIT: "audit of its data", "eval.json": "numbers of an evaluation", "README.md": "model card",
    "config.json": "the model's shape", "adapter_config.json": "what the adapter is of",
}  # fmt: skip


@dataclass(frozen=True)
class RunFile:
    """A file below a run's directory, or a checkpoint as a whole: its name there, size (bytes) and purpose."""

    name: str
    size: int
    purpose: str
    whole: bool = False
    """Whether it is a folder, which is not sent."""


def files(run: Run) -> list[RunFile]:
    """The plain files of a run, the policy's first; of checkpoints a line each. Links and hidden files are left out."""
    found: list[RunFile] = []
    checkpoints: list[RunFile] = []
    for name, path in _walk(run.path):
        if len(found) >= _MOST_FILES:
            break
        found.append(RunFile(name, path.stat().st_size, _purpose(name)))
    for step, path in run.checkpoints:
        size = sum(inside.stat().st_size for _, inside in _walk(path))
        checkpoints.append(RunFile(f"{path.name}/", size, f"policy and trainer at step {step}", whole=True))
    first = [file for file in found if file.name.startswith("policy/")]
    return [*first, *checkpoints, *(file for file in found if file not in first)]


def file_link(run: Run, name: str) -> str:
    """The address of a file of a run."""
    return "/api/runs/file?" + urlencode([("run", str(run.path)), ("file", name)])


def card_link(run: Run) -> str:
    """The address of a run's model card as a file."""
    return "/api/runs/card?" + urlencode([("run", str(run.path))])


def card_of(run: Run) -> str:
    """The model card of a run, as `dpo push` would write it, in Markdown."""
    base = base_on_the_hub(str(run.config.get("model") or ""))
    return model_card(run, Publication(run.name, "adapter" if is_adapter(run) else "full", base))


def register(server: Flask, reader: RunReader) -> None:
    """Add the routes that send a file of a run, and its model card."""

    @server.get("/api/runs/file")
    def run_file() -> Response:
        run, name = _asked(reader), request.args.get("file") or ""
        if name not in {file.name for file in files(run) if not file.whole}:
            raise RunError(f"{run.name} has no file {quoted(name)}: look at the page of the run again")
        try:
            file = open_file(run.path / name, _MOST_BYTES)
        except OSError as error:
            raise RunError(f"{name} cannot be read ({error.strerror}): look at the page of the run again") from error
        sent = send_file(file, "application/octet-stream", as_attachment=True, download_name=Path(name).name)
        sent.headers["Cache-Control"] = "no-store"
        return sent

    @server.get("/api/runs/card")
    def run_card() -> Response:
        run = _asked(reader)
        return attachment(card_of(run), f"{run.path.name}-README", ".md")


def _asked(reader: RunReader) -> Run:
    run, _ = reader.read(str(reader.inside(request.args.get("run") or "")))
    return run


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Plain files below a directory by their names there, without checkpoints, hidden ones and links."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders
            if not name.startswith(".") and checkpoint_step(Path(name)) is None
            and not os.path.islink(os.path.join(folder, name))
        )  # fmt: skip
        for name in sorted(names):
            path = Path(folder) / name
            inside = path.relative_to(root).as_posix()
            plain = path.is_file() and not path.is_symlink() and whole_characters(inside) == inside
            if plain and not name.startswith("."):
                yield inside, path


def _purpose(name: str) -> str:
    last = name.rpartition("/")[2]
    if name.startswith(f"{EVALUATIONS}/"):
        return "an evaluation"
    if is_weights(last):
        return "weights"
    if is_tokenizer(last) or last in ("tokenizer_config.json", "special_tokens_map.json", "merges.txt"):
        return "tokenizer"
    if "tfevents" in last:
        return "measures for TensorBoard"
    return _PURPOSES.get(last, "")
