"""The routes by which an evaluation is planned, started, followed, stopped and gone on with.

It is a job of the one queue that trainings wait in, too: an evaluation uses the machine as a training does.
"""

from __future__ import annotations

import os
import shlex
import threading
from typing import Any

from flask import Flask, Response, jsonify, request

from dpo.dashboard.evaluate.figures import seen_by_size
from dpo.dashboard.evaluate.found import Evaluations, sound
from dpo.dashboard.evaluate.naming import Names
from dpo.dashboard.evaluate.progress import progress_of
from dpo.dashboard.evaluate.request import plan_of
from dpo.dashboard.web.access import Right
from dpo.dashboard.web.reading import body, text
from dpo.dashboard.workbench import Workbench
from dpo.errors import DataError, RunError, quoted
from dpo.evaluation.comparison.command import arguments_of
from dpo.evaluation.comparison.judges import VOTED
from dpo.evaluation.comparison.plan import Plan
from dpo.evaluation.comparison.rows import RowStore
from dpo.evaluation.statistics.planning import detectable_difference, spread
from dpo.training.job import TrainingJob
from dpo.training.jobs import Jobs

_SIZES = ((50, 1), (200, 1), (500, 1), (200, 4))


def register(server: Flask, workbench: Workbench, evaluations: Evaluations) -> None:
    """Add the routes; what reads asks for READ, what computes for ASK, what starts or stops for TRAIN."""
    speeds = _Speeds()
    jobs = workbench.jobs

    @server.post("/api/evaluations/plan")
    def evaluation_plan() -> Response:
        """What a set-up would do, and which difference it would show."""
        return jsonify(planned(plan_of(body(), workbench)))

    @server.post("/api/evaluations/time")
    def evaluation_time() -> Response:
        """Seconds that the missing answers take at most, measured on a few tokens."""
        plan = plan_of(body(), workbench)
        with workbench.streams.place():
            return jsonify({"seconds": speeds.seconds(plan)})

    @server.post("/api/evaluations/start")
    def evaluation_start() -> Response:
        plan = plan_of(body(), workbench)
        job = jobs.submit_command(arguments_of(plan.config), plan.directory)
        return jsonify({"evaluation": str(plan.directory), **job.record()})

    @server.post("/api/evaluations/stop")
    def evaluation_stop() -> Response:
        job = _asked_job(jobs, evaluations)
        return jsonify(jobs.stop(job.ident).record())

    @server.post("/api/evaluations/resume")
    def evaluation_resume() -> Response:
        """Ask for the same evaluation again: what it has is not made again."""
        job = _asked_job(jobs, evaluations)
        return jsonify(jobs.submit_command(shlex.split(job.line)[1:], job.run).record())

    @server.get("/api/evaluations/progress")
    def evaluation_progress() -> Response:
        """How far it is; `job` is None for one that no job of this queue is about, or where jobs may not be seen.

        `progress` is None where nothing is made or to be gone on with: counting takes as long as opening.
        """
        name = request.args.get("evaluation") or ""
        path = evaluations.inside(name)
        job = _job_of(jobs, str(path)) if workbench.access.grants(Right.TRAIN) else None
        if job is None:
            return jsonify({"job": None, "progress": None})
        shown = job.record() | {"over": job.over, "log": jobs.log(job.ident, 2_000)}
        if job.state == "finished":
            return jsonify({"job": shown, "progress": None})
        try:
            found = evaluations.open(name)
            made = sound(path, lambda: progress_of(found, Names(found.plan, workbench.runs.inside)))
        except DataError:
            made = None  # it reads data and policies, and has written nothing yet
        return jsonify({"job": shown, "progress": made})


def planned(plan: Plan) -> dict[str, Any]:
    """A plan in numbers and words, with the command line that asks for the same."""
    config, count = plan.config, len(plan.prompts)
    difference, needed = plan.detectable()
    samples = max(config.samples_at(t) for t in config.temperatures)
    duels = count * len(plan.draws()) * len(plan.comparisons)
    asked = [judge for judge in plan.judges if judge.kind not in VOTED]
    return {
        "command": shlex.join(["dpo", *arguments_of(plan.config)]), "directory": str(plan.directory),
        "prompts": count, "asked_for": config.prompts, "source": str(plan.data["source"]),
        "held_out": plan.data["held_out_prompts"], "samples": samples, "points": 100 * difference, "needed": needed,
        "comparisons": [list(pair) for pair in plan.comparisons],
        "answers": count * len(plan.draws()) * len(plan.policies), "missing": plan.missing(RowStore(plan.directory)),
        "verdicts": sum(duels * len(judge.orders) for judge in asked),
        "sent_to": [str(judge.path).partition("#")[0] for judge in plan.judges if judge.kind == "endpoint"],
        "sizes": [
            {"prompts": n, "samples": k, "points": 100 * detectable_difference(n, spread(samples=k))} for n, k in _SIZES
        ],
        "figure": seen_by_size(count, samples),
    }  # fmt: skip


class _Speeds:
    """Seconds that an answer takes at most, measured once for each group of policies and length."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], float] = {}
        self._turn = threading.Lock()

    def seconds(self, plan: Plan) -> float:
        """For all answers that are missing.

        Raises:
            PolicyError: a policy cannot be loaded.
        """
        from dpo.evaluation.comparison.answering import seconds_to_generate  # imports torch

        store = RowStore(plan.directory)
        missing, config = plan.missing(store), plan.config
        key = (*sorted(plan.policies.values()), config.max_new_tokens, config.batch_size)
        with self._turn:
            if missing and key not in self._known:
                self._known[key] = seconds_to_generate(plan, store) / missing
        return self._known.get(key, 0.0) * missing


def _job_of(jobs: Jobs, path: str) -> TrainingJob | None:
    """The newest evaluation in a directory."""
    real = os.path.realpath(path)
    mine = (
        job for job in reversed(jobs.all()) if job.line.startswith("dpo eval ") and os.path.realpath(job.run) == real
    )
    return next(mine, None)


def _asked_job(jobs: Jobs, evaluations: Evaluations) -> TrainingJob:
    """The job of the evaluation that the body names.

    Raises:
        RunError: there is none.
    """
    name = text(body(), "evaluation")
    job = _job_of(jobs, str(evaluations.inside(name)))
    if job is None:
        raise RunError(f"{quoted(name, 200)} was not started here: run the same dpo eval again to go on with it")
    return job
