"""The routes by which the Training page starts, stops and resumes trainings.

They do what a terminal on this machine could, so they are off unless the server is bound to this
machine alone or was started with `--allow-training`.  Requests of other sites and under foreign host
names never get here (`dpo.dashboard.api`).
"""

from __future__ import annotations

import dataclasses
import os
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from flask import Flask, Response, jsonify, request

from dpo.errors import BusyError, ConfigError, DpoError, RunError
from dpo.policies.names import BUNDLED, DEFAULT_RUNS, SHORT_NAMES
from dpo.preferences.sources import NAMED
from dpo.runs import BUNDLED_RUNS, find_runs, open_run
from dpo.training.config import CommonConfig, SftConfig, TrainConfig
from dpo.training.flags import command_line
from dpo.training.job import resumable
from dpo.training.jobs import Jobs, run_directory
from dpo.training.preflight import preflight
from dpo.training.settings import make, read_yaml

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
PRESETS = Path(__file__).resolve().parents[3] / "configs"
REFUSED = "Training from the page is off on this address: start app.py with --allow-training"
# Given by the form in other ways: by the run's name, and by Resume.
_NOT_ASKED = {"output_dir", "resume"}
KINDS: dict[str, type[CommonConfig]] = {"dpo": TrainConfig, "sft": SftConfig}
# A run of two minutes on two CPU cores.
_DEMO = {"model": "demo/gpt2", "dataset": "sample", "max_steps": 40, "batch_size": 4, "logging_steps": 1,
         "eval_steps": 10, "save_steps": 20}  # fmt: skip
_DEMOS = {
    "dpo": ("Two-minute demo on the sample pairs", _DEMO),
    "sft": ("Two-minute demo on the sample's preferred answers", _DEMO),
}


def own_root(roots: Sequence[Path]) -> Path:
    """Where new runs go: the first directory of runs that is not the bundled one."""
    bundled = BUNDLED_RUNS.resolve()
    return next((root for root in roots if root.resolve() != bundled), DEFAULT_RUNS)


def register(server: Flask, roots: Sequence[Path], host: str, allow: bool = False) -> Jobs:
    """Add the routes below `/api/jobs`, and go on with what is waiting.

    Args:
        host: the address the server is bound to.
        allow: let everybody who reaches the server train on it.
    """
    root = own_root(roots)
    jobs = Jobs(root)
    allowed = allow or host in LOOPBACK
    if allowed:
        jobs.wake()

    def guarded(answer: Callable[[], Any]) -> Response:
        if not allowed:
            return refused(REFUSED, 403)
        try:
            return jsonify(answer())
        except BusyError as error:
            return refused(str(error), 429)
        except DpoError as error:
            return refused(" ".join(str(error).split()), 400)

    @server.get("/api/jobs")
    def listing() -> Response:
        """The jobs, newest first, and the runs that could go on."""
        if not allowed:
            return jsonify({"allowed": False, "message": REFUSED, "jobs": [], "resumable": []})
        jobs.wake()  # a worker that was killed leaves jobs waiting
        known = jobs.all()
        newest = {Path(os.path.realpath(job.run)): job.ident for job in known}
        rows = [job.record() for job in reversed(known)]
        for row in rows:  # of several jobs on one run the last one can go on
            row["resumable"] &= newest[Path(os.path.realpath(row["run"]))] == row["job"]
        others = [run for run in find_runs(roots) if run.path.resolve() not in newest and resumable(run.path)]
        return jsonify({
            "allowed": True,
            "jobs": rows,
            "resumable": [
                {"run": str(run.path), "name": run.name, "state": run.state, "step": run.progress.get("step")}
                for run in others
            ],
        })  # fmt: skip

    @server.get("/api/jobs/form")
    def form() -> Response:
        def answer() -> dict[str, Any]:
            kind = _kind_of(request.args)
            return {"kind": kind, "fields": fields(kind), "presets": presets(kind),
                    "suggestions": _suggestions(roots), "root": str(root)}  # fmt: skip

        return guarded(answer)

    @server.post("/api/jobs/check")
    def check() -> Response:
        """Validate settings; answers with the command line, and the pre-flight if `look` is true."""

        def answer() -> dict[str, Any]:
            body = asked_for()
            config = config_of(body, root)
            looked = preflight(config, root, find_runs(roots)) if body.get("look") is True else None
            return {"command": command_line(config), "lines": looked}

        return guarded(answer)

    @server.post("/api/jobs")
    def start() -> Response:
        return guarded(lambda: jobs.submit(config_of(asked_for(), root)).record())

    @server.post("/api/jobs/stop")
    def stop() -> Response:
        return guarded(lambda: jobs.stop(_text(asked_for(), "job")).record())

    @server.post("/api/jobs/resume")
    def resume() -> Response:
        def answer() -> dict[str, Any]:
            path = _text(asked_for(), "run")
            sweeps = [job for job in jobs.all() if job.trials is not None and str(job.run) == path]
            if sweeps:
                return jobs.submit_sweep(sweeps[-1].plan()).record()
            return jobs.submit(_resumed(path, roots)).record()

        return guarded(answer)

    @server.post("/api/jobs/sweep")
    def sweep() -> Response:
        """Start the sweep that a YAML text (`plan`) describes."""
        return guarded(lambda: jobs.submit_sweep(_text(asked_for(), "plan")).record())

    @server.post("/api/jobs/forget")
    def forget() -> Response:
        def answer() -> dict[str, Any]:
            jobs.forget(_text(asked_for(), "job"))
            return {"forgotten": True}

        return guarded(answer)

    @server.get("/api/jobs/<ident>/log")
    def log(ident: str) -> Response:
        return guarded(lambda: {"text": jobs.log(ident)})

    return jobs


def _kind_of(values: Mapping[str, Any]) -> str:
    kind = values.get("kind") or "dpo"
    if kind not in KINDS:
        raise ConfigError(f"kind is {str(kind)[:40]!r}: it must be {' or '.join(KINDS)}")
    return str(kind)


def config_of(body: Mapping[str, Any], root: Path) -> CommonConfig:
    """The validated settings of a request: its `kind` (`dpo` or `sft`), `settings` by name, the run's `name`.

    Raises:
        ConfigError: unknown, out of range or contradictory settings, or a name that cannot be used.
    """
    given = body.get("settings")
    if not isinstance(given, dict):
        raise ConfigError('settings must be an object such as {"model": "demo/gpt2", "dataset": "sample"}')
    for name in _NOT_ASKED & given.keys():
        raise ConfigError(f"{name} is not taken here: give the run a name, or use Resume")
    kind = _kind_of(body)
    config = make(KINDS[kind], given)
    name = str(body.get("name") or "").strip()
    name = name or f"{Path(config.model).name}-{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    return dataclasses.replace(config, output_dir=str(run_directory(root, name)))


def fields(kind: str = "dpo") -> list[dict[str, Any]]:
    """The form: one entry for each setting of that kind of training, in the order of its groups."""
    config = KINDS[kind]
    hints, usual = get_type_hints(config), config()
    made = [
        {
            "name": spec.name, "flag": "--" + spec.name.replace("_", "-"), "group": spec.metadata["group"],
            "help": spec.metadata["help"], "choices": spec.metadata["choices"], "default": getattr(usual, spec.name),
            "low": spec.metadata["low"], "high": spec.metadata["high"], "above": spec.metadata["above"],
            "kind": _kind(hints[spec.name], bool(spec.metadata["choices"])),
        }
        for spec in dataclasses.fields(config) if spec.name not in _NOT_ASKED
    ]  # fmt: skip
    order = list(dict.fromkeys(entry["group"] for entry in made))
    return sorted(made, key=lambda entry: order.index(entry["group"]))


def presets(kind: str = "dpo", directory: Path = PRESETS) -> list[dict[str, Any]]:
    """Ready settings: the two-minute demo, then the files of `configs/` (their first comment is the title)."""
    title, settings = _DEMOS[kind]
    made: list[dict[str, Any]] = [{"name": "demo", "title": title, "settings": settings}]
    for path in sorted(directory.glob("*.yaml")) if kind == "dpo" else ():
        first = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").rstrip(".")
        settings = {name: value for name, value in read_yaml(path, TrainConfig).items() if name not in _NOT_ASKED}
        made.append({"name": path.stem, "title": first, "settings": settings})
    return made


def _kind(hint: Any, limited: bool) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(option for option in get_args(hint) if option is not type(None))
    if get_origin(hint) is list:
        return "choices" if limited else "numbers" if get_args(hint)[0] is float else "texts"
    if limited:
        return "choice"
    return {bool: "switch", int: "integer", float: "number"}.get(hint, "text")


def _suggestions(roots: Sequence[Path]) -> dict[str, list[str]]:
    tuned = [str(run.path) for run in find_runs(roots) if run.policy_path is not None]
    return {"model": [*BUNDLED, *SHORT_NAMES, *tuned], "dataset": ["sample", *NAMED]}


def _resumed(path: str, roots: Sequence[Path]) -> CommonConfig:
    directory = Path(path).resolve()
    if not any(directory.is_relative_to(root.resolve()) for root in roots):
        raise RunError(f"{path} is in none of the directories shown here: start app.py with --runs DIR")
    if not resumable(directory):
        raise RunError(f"{path} cannot be resumed: only a stopped, failed or interrupted run of dpo can")
    return KINDS[_kind_of({"kind": open_run(directory).kind})](resume=path)


def asked_for() -> dict[str, Any]:
    """The JSON object that was sent.

    Raises:
        ConfigError: something else was.
    """
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise ConfigError("the body must be a JSON object")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError(f'{name} is missing: give it as text, {{"{name}": "..."}}')
    return value


def refused(message: str, status: int) -> Response:
    """The answer to a request that cannot be met: `{"error": message}`."""
    response = jsonify({"error": message})
    response.status_code = status
    return response
