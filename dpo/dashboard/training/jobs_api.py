"""The routes by which the Training page starts, stops and resumes trainings.

They do what a terminal on this machine could, so they are off unless the server is bound to this
machine alone or was started with `--allow-training` (`dpo.dashboard.web`).
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from flask import Flask, Response, jsonify, request

from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.web.access import Right
from dpo.dashboard.web.reading import body, text
from dpo.dashboard.workbench import Workbench
from dpo.errors import AccessError, ConfigError, DpoError, RunError, quoted
from dpo.families import facts_of
from dpo.policies.names import BUNDLED, SHORT_NAMES, resolve
from dpo.preferences.sources import NAMED
from dpo.resources import resource
from dpo.runs import Run, find_runs, open_run
from dpo.training.command_line import command_line, in_order
from dpo.training.config import CommonConfig, SftConfig, TrainConfig
from dpo.training.job import resumable
from dpo.training.jobs import Jobs, run_directory
from dpo.training.preflight import preflight
from dpo.training.settings import COMMANDS, make, read_yaml
from dpo.values import inner

PRESETS = resource("configs")
# Given by the form in other ways: by the run's name, and by Resume.
_NOT_ASKED = {"output_dir", "resume"}
KINDS: dict[str, type[CommonConfig]] = {"dpo": TrainConfig, "sft": SftConfig}
# What decides most of a training stands first; the others are folded by what they are for.
_FIRST = {
    "dpo": ("model", "dataset", "max_steps", "learning_rate", "beta"),
    "sft": ("model", "dataset", "max_steps", "learning_rate", "batch_size"),
}
_PURPOSES = {
    "model and data": "Data and lengths", "optimisation": "Optimisation", "preference loss": "Preference loss",
    "adapters": "LoRA and quantisation", "record": "Record, checkpoints, answers", "machine": "Machine and seed",
}  # fmt: skip
# What a setting without a value of its own comes to.
_USUAL = {
    "num_samples": "all", "prompt_column": "recognised", "chosen_column": "recognised", "layout": "recognised",
    "rejected_column": "recognised", "max_steps": "by epochs", "learning_rate": "by policy", "loss_weights": "equal",
    "ld_alpha": "off", "early_stopping": "off", "kl_budget": "off", "lora_alpha": "twice the rank",
    "lora_targets": "by architecture", "answer_column": "recognised", "half": "both",
}  # fmt: skip
# A run of two minutes on two CPU cores.
_DEMO = {"model": "demo/gpt2", "dataset": "sample", "max_steps": 40, "batch_size": 4, "logging_steps": 1,
         "eval_steps": 10, "save_steps": 20}  # fmt: skip
_OWN_FILE = "FILE"  # how the doctor names a file that the user makes
_DEMOS = {
    "dpo": ("Two-minute demo on the sample pairs", _DEMO),
    "sft": ("Two-minute demo on the sample's preferred answers", _DEMO),
}


def register(server: Flask, workbench: Workbench) -> None:
    """Add the routes below `/api/jobs`, and go on with what is waiting."""
    jobs, roots, access = workbench.jobs, workbench.roots, workbench.access
    if access.may_grant(Right.TRAIN):
        jobs.wake()

    @server.get("/api/jobs")
    def listing() -> Response:
        """The jobs, newest first, and the runs that could go on; nothing where training is not allowed."""
        try:
            access.require(Right.TRAIN)
        except AccessError as error:
            return jsonify({"allowed": False, "message": str(error), "jobs": [], "resumable": []})
        return jsonify({"allowed": True, **listed(jobs, roots)})

    @server.get("/api/jobs/form")
    def form() -> Response:
        kind = _kind_of(request.args)
        return jsonify({"kind": kind, "fields": fields(kind), "presets": presets(kind),
                        "suggestions": _suggestions(roots), "root": str(jobs.root)})  # fmt: skip

    @server.post("/api/jobs/check")
    def check() -> Response:
        """Validate settings; answers with the command line, and the pre-flight if `look` is true."""
        sent = body()
        config = config_of(sent, jobs.root)
        looked = preflight(config, jobs.root, find_runs(roots)) if sent.get("look") is True else None
        return jsonify({"command": command_line(config), "lines": looked, "usual": usual(config)})

    @server.get("/api/jobs/<ident>/log")
    def log(ident: str) -> Response:
        return jsonify({"text": jobs.log(ident)})

    _commands(server, workbench)


def _commands(server: Flask, workbench: Workbench) -> None:
    jobs = workbench.jobs

    @server.post("/api/jobs/again")
    def again() -> Response:
        """The form of a run once more, with one setting changed: `run`, `flag` and `value` as the doctor names them."""
        sent = body()
        directory = workbench.runs.inside(text(sent, "run"))
        return jsonify(rerun(open_run(directory), text(sent, "flag"), text(sent, "value"), jobs.root))

    @server.post("/api/jobs")
    def start() -> Response:
        return jsonify(jobs.submit(config_of(body(), jobs.root)).record())

    @server.post("/api/jobs/stop")
    def stop() -> Response:
        return jsonify(jobs.stop(text(body(), "job")).record())

    @server.post("/api/jobs/resume")
    def resume() -> Response:
        path = text(body(), "run")
        sweeps = [job for job in jobs.all() if job.trials is not None and str(job.run) == path]
        job = jobs.submit_sweep(sweeps[-1].plan()) if sweeps else jobs.submit(_resumed(path, workbench.runs))
        return jsonify(job.record())

    @server.post("/api/jobs/sweep")
    def sweep() -> Response:
        """Start the sweep that a YAML text (`plan`) describes."""
        return jsonify(jobs.submit_sweep(text(body(), "plan")).record())

    @server.post("/api/jobs/forget")
    def forget() -> Response:
        """Take a job that is over from the list."""
        jobs.forget(text(body(), "job"))
        return jsonify({"forgotten": True})


def listed(jobs: Jobs, roots: Sequence[Path]) -> dict[str, Any]:
    """`jobs`, newest first, and `resumable`: the runs that no job is about and that could go on."""
    jobs.wake()  # a worker that was killed leaves jobs waiting
    known = jobs.all()
    newest = {Path(os.path.realpath(job.run)): job.ident for job in known}
    rows = [job.record() for job in reversed(known)]
    for row in rows:  # of several jobs on one run the last one can go on
        row["resumable"] &= newest[Path(os.path.realpath(row["run"]))] == row["job"]
    others = [run for run in find_runs(roots) if run.path.resolve() not in newest and resumable(run.path)]
    return {
        "jobs": rows,
        "resumable": [
            {"run": str(run.path), "name": run.name, "state": run.state, "step": run.progress.get("step")}
            for run in others
        ],
    }


def rerun(run: Run, flag: str, value: str, root: Path) -> dict[str, Any]:
    """`kind`, `settings` and a free `name` for a run like `run`, and the setting that is `changed`.

    A value that only the user has (a file that must be made first) is left to them: `changed` is then not in
    the settings as a new value.

    Raises:
        ConfigError: no such setting, or a record whose settings cannot be used.
        RunError: the run was not made here.
    """
    if run.kind not in KINDS or not run.config:
        raise RunError(f"{run.name} was not made by dpo train or dpo sft: start a new run with that setting")
    config, changed = KINDS[run.kind], flag.removeprefix("--").replace("-", "_")
    known = {spec.name for spec in dataclasses.fields(config)} - _NOT_ASKED
    if changed not in known:
        raise ConfigError(f"No setting of {COMMANDS[run.kind]} is called {quoted(flag)}")
    given = {name: value for name, value in run.config.items() if name in known}
    if value != _OWN_FILE:
        hint = inner(get_type_hints(config)[changed])
        given[changed] = value.split() if get_origin(hint) is list else value
    made, usual = make(config, given), config()
    settings = {name: got for name in known if (got := getattr(made, name)) != getattr(usual, name)}
    name = next(f"{run.name[:70]}-{n}" for n in itertools.count(2) if not (root / f"{run.name[:70]}-{n}").exists())
    return {"kind": run.kind, "settings": settings, "name": name, "changed": changed}


def usual(config: CommonConfig) -> dict[str, str]:
    """What settings come to that are left open, as far as the others decide it: by name."""
    try:
        source = resolve(config.model)
    except DpoError:
        return {}
    facts = facts_of(source.family)
    if facts is None:
        return {}
    rate = facts.rates[config.kind, source.adapter or getattr(config, "lora", False)]
    return {"learning_rate": f"{rate:.0e}".replace("e-0", "e-")}


def _kind_of(values: Mapping[str, Any]) -> str:
    kind = values.get("kind") or "dpo"
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"kind is {quoted(kind)}: it must be {' or '.join(KINDS)}")
    return kind


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
    hints, default = get_type_hints(config), config()
    made = [
        {
            "first": spec.name in _FIRST[kind], "usual": _USUAL.get(spec.name, ""),
            "name": spec.name, "flag": "--" + spec.name.replace("_", "-"), "group": _PURPOSES[spec.metadata["group"]],
            "help": spec.metadata["help"], "choices": spec.metadata["choices"], "default": getattr(default, spec.name),
            "low": spec.metadata["low"], "high": spec.metadata["high"], "above": spec.metadata["above"],
            "kind": _kind(hints[spec.name], bool(spec.metadata["choices"])),
        }
        for spec in in_order(config) if spec.name not in _NOT_ASKED
    ]  # fmt: skip
    order = list(dict.fromkeys(entry["group"] for entry in made))
    first = list(_FIRST[kind])
    return sorted(
        made, key=lambda entry: (not entry["first"], first.index(entry["name"]) if entry["first"] else 0,
                                 order.index(entry["group"])),
    )  # fmt: skip


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
    hint = inner(hint)
    if get_origin(hint) is list:
        return "choices" if limited else "numbers" if get_args(hint)[0] is float else "texts"
    if limited:
        return "choice"
    return {bool: "switch", int: "integer", float: "number"}.get(hint, "text")


def _suggestions(roots: Sequence[Path]) -> dict[str, list[str]]:
    tuned = [str(run.path) for run in find_runs(roots) if run.policy_path is not None]
    return {"model": [*BUNDLED, *SHORT_NAMES, *tuned], "dataset": ["sample", *NAMED]}


def _resumed(path: str, runs: RunReader) -> CommonConfig:
    directory = runs.inside(path).resolve()
    if not resumable(directory):
        raise RunError(f"{quoted(path)} cannot be resumed: only a stopped, failed or interrupted run of dpo can")
    return KINDS[_kind_of({"kind": open_run(directory).kind})](resume=path)
