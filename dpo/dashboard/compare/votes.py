"""Voting on the Compare page: the bars under the answers, the results beneath, and their routes.

Voting itself happens in the browser (`assets/js/compare/votes.js`), because blind voting is a matter of what
is shown; here votes are stored, counted, exported, and trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
from dash import html
from flask import Flask, Response, jsonify, request

from dpo.dashboard.choices import references, tuned
from dpo.dashboard.compare.policies import EXAMPLES
from dpo.dashboard.components import box, button, card
from dpo.dashboard.web import reading
from dpo.dashboard.web.downloads import attachment
from dpo.dashboard.workbench import Workbench
from dpo.errors import BusyError, ConfigError, PolicyError, quoted
from dpo.evaluation.votes import Vote, Votes, preference_pairs
from dpo.preferences.sources import SAMPLE
from dpo.preferences.spec import DataSpec
from dpo.preferences.split import is_held_out
from dpo.runs.files import Identity, identity
from dpo.training.job import TrainingJob
from dpo.training.jobs import Jobs

_VERDICTS = (("a", "A better"), ("tie", "Tie"), ("bad", "Both bad"), ("b", "B better"))
_MOST_STEPS = 100_000
_COMMAND = "dpo votes train "


def switch() -> Any:
    """Hide names and shuffle the answers."""
    return dmc.Switch(id="cmp-blind", label="Blind", size="xs", checked=False)


def bar(row: int) -> html.Div:
    """The vote bar of a row of two answers; opens when both are complete."""
    return box(
        *(
            html.Button(text, type="button", className="vote-button", disabled=True, **{"data-verdict": verdict})
            for verdict, text in _VERDICTS
        ),
        html.Span("Vote opens when both answers are complete", className="sub push", id=f"cmp-vote-note-{row}"),
        cls="vote",
        role="group",
        id=f"cmp-vote-{row}",
        **{"aria-label": f"Vote on row {row + 1}", "data-row": str(row)},
    )


def loop() -> html.Div:
    """What follows a vote: the next prompt, or the last vote taken back; `assets/js/compare/loop.js` drives it."""
    return box(
        button("Next prompt", id="cmp-loop-next", size="xs", n_clicks=0),
        button("Undo vote", id="cmp-loop-undo", size="xs", variant="subtle", n_clicks=0),
        html.Span("", id="cmp-loop-note", className="sub num", role="status"),
        cls="row tight loop",
        id="cmp-loop",
    )


def results() -> html.Section:
    """Scores and win rates so far, and what can be done with the votes."""
    return card(
        html.Details(
            [
                html.Summary(
                    [html.H2("Votes"), html.Span("none yet", className="sub num", id="cmp-votes-count")],
                    className="row votes-summary",
                ),
                html.P(
                    "Hidden names do not hide everything: a vocabulary's habits can give a policy away.",
                    className="sub",
                ),
                html.Div(id="cmp-votes-tables", className="grid g2 votes-tables"),
                box(
                    html.A("Export pairs", href="/api/votes/pairs.jsonl", download="votes.jsonl", className="ex",
                           id="cmp-votes-export"),
                    dmc.Select(id="cmp-votes-model", data=[], size="xs", w=210, placeholder="Policy to train on",
                               **{"aria-label": "Policy to train further"}),
                    dmc.NumberInput(id="cmp-votes-steps", value=None, min=1, max=_MOST_STEPS, size="xs", w=110,
                                    placeholder="one epoch", hideControls=True, allowDecimal=False,
                                    **{"aria-label": "Steps"}),
                    button("Start the next round", "play", id="cmp-votes-train", size="xs"),
                    html.Span("", className="sub", id="cmp-votes-message", role="status"),
                    cls="row votes-acts",
                ),
            ]
        ),
        cls="votes",
        id="cmp-votes",
    )  # fmt: skip


def register(server: Flask, workbench: Workbench) -> None:
    """Add the routes under `/api/votes`; trainings on votes go through the queue of all trainings."""
    votes, jobs = workbench.votes, workbench.jobs
    offered = lru_cache(maxsize=1)(prompts_of)

    @server.post("/api/votes")
    def store() -> Response:
        """Store a vote; answers with the tally of its pair of policies."""
        from dpo.evaluation.vote_statistics import tally
        from dpo.evaluation.votes import Vote

        vote = Vote.from_values(reading.body())
        stored = votes.add(vote)
        return jsonify({"stored": stored, "tally": tally(votes.all(), vote.policy_a, vote.policy_b)})

    @server.get("/api/votes")
    def show() -> Response:
        """Scores and win rates."""
        from dpo.evaluation.vote_statistics import statistics

        so_far = votes.all()
        pairs, left_out = preference_pairs(so_far)
        made = statistics(so_far, resamples=400).record()
        return jsonify(made | {"pairs": len(pairs), "left_out": left_out, "training": training_state(jobs)})

    @server.post("/api/votes/undo")
    def undo() -> Response:
        """Take back the vote `key` of the same `voter`."""
        body = reading.body()
        return jsonify({"undone": votes.withdraw(reading.text(body, "key"), reading.text(body, "voter"))})

    @server.get("/api/votes/prompts")
    def prompts() -> Response:
        """What the `voter` has not voted on yet."""
        all_of_them = offered(SAMPLE, identity(SAMPLE))
        return jsonify({"prompts": prompts_left(all_of_them, votes.all(), request.args.get("voter", "")[:64])})

    @server.get("/api/votes/pairs.jsonl")
    def export() -> Response:
        """The votes as preference pairs in the Human-Like layout."""
        pairs, _ = preference_pairs(votes.all())
        return attachment("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs), "votes")

    @server.post("/api/votes/train")
    def train() -> Response:
        """Put the next round into the queue."""
        body = reading.body()
        start_training(votes, jobs, workbench.roots, body.get("model"), body.get("max_steps"))
        return jsonify(training_state(jobs))


def prompts_of(sample: Path, known_by: Identity | None = None) -> tuple[str, ...]:
    """The example prompts, and those of the sample data that a training holds out by default.

    `known_by` is the file's identity, for whoever keeps what was read.
    """
    rows = [json.loads(line) for line in sample.read_text(encoding="utf-8").splitlines() if line.strip()]
    held_out = [row["prompt"].strip() for row in rows if is_held_out(row["prompt"], DataSpec.eval_fraction)]
    return tuple(dict.fromkeys([*EXAMPLES, *held_out]))


def prompts_left(prompts: Sequence[str], so_far: Sequence[Vote], voter: str) -> list[str]:
    """Those of `prompts` that a voter has not voted on, in an order of the voter's own: few voters see many prompts."""
    done = {vote.prompt for vote in so_far if vote.voter == voter}
    left = [prompt for prompt in prompts if prompt not in done]
    return sorted(left, key=lambda prompt: hashlib.sha256(f"{voter} {prompt}".encode()).digest())


def start_training(votes: Votes, jobs: Jobs, roots: Sequence[Path], model: Any, max_steps: Any) -> TrainingJob:
    """Queue a `dpo votes train`.

    Raises:
        PolicyError: the model is none of the listed policies.
        ConfigError: no usable number of steps, or no vote prefers an answer.
        BusyError: one waits or runs.
    """
    known = {choice.value: choice for choice in (*tuned(roots), *references(roots))}
    if not isinstance(model, str) or model not in known:
        raise PolicyError(f"{quoted(model, 200)} is not among the policies listed here: choose one of them")
    if max_steps is not None and (
        isinstance(max_steps, bool) or not isinstance(max_steps, int) or not 1 <= max_steps <= _MOST_STEPS
    ):
        raise ConfigError(f"max_steps is {quoted(max_steps)}: it must be a whole number from 1 to {_MOST_STEPS}")
    if not preference_pairs(votes.all())[0]:
        raise ConfigError("No vote prefers an answer yet: vote A or B first")
    before = _newest(jobs)
    if before is not None and not before.over:
        raise BusyError(f"{before.run} is in the queue already: wait until it is finished")
    run = jobs.root / f"votes-{known[model].family}-{datetime.now():%Y%m%d-%H%M%S}"
    command = ["votes", "train", "--votes", str(votes.path), "--model", model, "--output-dir", str(run)]
    command += ["--max-steps", str(max_steps)] if max_steps is not None else []
    return jobs.submit_command(command, run)


def training_state(jobs: Jobs) -> dict[str, Any]:
    """`state` of the newest training on votes (idle, running, finished, failed), its run, and why it failed.

    A round that waits or is being stopped counts as running, one that ended early as failed: the Training page's
    queue tells them apart.
    """
    job = _newest(jobs)
    if job is None:
        return {"state": "idle"}
    state = "finished" if job.state == "finished" else "failed" if job.over else "running"
    made = {"state": state, "run": str(job.run), "name": job.run.name}
    return made | ({"message": f"{job.run.name} {job.state}: {job.message}"} if state == "failed" else {})


def _newest(jobs: Jobs) -> TrainingJob | None:
    return next((job for job in reversed(jobs.all()) if job.line.startswith(_COMMAND)), None)
