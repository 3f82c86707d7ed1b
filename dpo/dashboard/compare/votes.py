"""Voting on the Compare page: the bars under the answers, the results beneath, and their routes.

Voting itself happens in the browser (`assets/votes.js`), because blind voting is a matter of what
is shown; here votes are stored, counted, exported, and trained on.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import dash_mantine_components as dmc
from dash import html
from flask import Flask, Response, jsonify, request

from dpo.dashboard.components import button, card
from dpo.dashboard.lens.policies import references, tuned
from dpo.errors import BusyError, ConfigError, DpoError, PolicyError
from dpo.evaluation.votes import Votes, preference_pairs
from dpo.policies.names import DEFAULT_RUNS
from dpo.runs import BUNDLED_RUNS

_VERDICTS = (("a", "A better"), ("tie", "Tie"), ("bad", "Both bad"), ("b", "B better"))
_MOST_STEPS = 100_000


def switch() -> Any:
    """Hide names and shuffle the answers."""
    return dmc.Switch(id="cmp-blind", label="Blind", size="xs", checked=False)


def bar(row: int) -> html.Div:
    """The vote bar of a row of two answers; opens when both are complete."""
    return html.Div(
        [
            *(
                html.Button(text, type="button", className="vote-button", disabled=True, **{"data-verdict": verdict})
                for verdict, text in _VERDICTS
            ),
            html.Span("Vote opens when both answers are complete", className="sub push", id=f"cmp-vote-note-{row}"),
        ],
        className="vote",
        role="group",
        id=f"cmp-vote-{row}",
        **{"aria-label": f"Vote on row {row + 1}", "data-row": str(row)},
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
                html.Div(
                    [
                        html.A("Export pairs", href="/api/votes/pairs.jsonl", download="votes.jsonl", className="ex",
                               id="cmp-votes-export"),
                        dmc.Select(id="cmp-votes-model", data=[], size="xs", w=210, placeholder="Policy to train on",
                                   **{"aria-label": "Policy to train further"}),
                        dmc.NumberInput(id="cmp-votes-steps", value=None, min=1, max=_MOST_STEPS, size="xs", w=110,
                                        placeholder="one epoch", hideControls=True, allowDecimal=False,
                                        **{"aria-label": "Steps"}),
                        button("Start the next round", "play", id="cmp-votes-train", size="xs"),
                        html.Span("", className="sub", id="cmp-votes-told", role="status"),
                    ],
                    className="row votes-acts",
                ),
            ]
        ),
        cls="votes",
        id="cmp-votes",
    )  # fmt: skip


def register(server: Flask, votes: Votes, roots: Sequence[Path]) -> None:
    """Add the routes under `/api/votes`."""
    training = Training(votes, roots)

    @server.post("/api/votes")
    def cast() -> Response:
        """Store a vote; answers with the tally of its pair of policies."""
        from dpo.evaluation.vote_statistics import tally
        from dpo.evaluation.votes import Vote

        try:
            vote = Vote.from_values(request.get_json(silent=True))
            stored = votes.add(vote)
            return jsonify({"stored": stored, "tally": tally(votes.all(), vote.policy_a, vote.policy_b)})
        except DpoError as error:
            return _refused(str(error), 400)

    @server.get("/api/votes")
    def show() -> Response:
        """Scores and win rates."""
        from dpo.evaluation.vote_statistics import statistics

        try:
            cast_so_far = votes.all()
        except DpoError as error:
            return _refused(str(error), 500)
        pairs, left_out = preference_pairs(cast_so_far)
        made = statistics(cast_so_far, resamples=400).record()
        return jsonify(made | {"pairs": len(pairs), "left_out": left_out, "training": training.state()})

    @server.get("/api/votes/pairs.jsonl")
    def export() -> Response:
        """The votes as preference pairs in the Human-Like layout."""
        import json

        try:
            pairs, _ = preference_pairs(votes.all())
        except DpoError as error:
            return _refused(str(error), 500)
        text = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
        return Response(text, mimetype="application/jsonl", headers={"Cache-Control": "no-store"})

    @server.post("/api/votes/train")
    def train() -> Response:
        """Start the next round; one at a time."""
        body = request.get_json(silent=True)
        try:
            if not isinstance(body, dict):
                raise ConfigError('the body must be a JSON object such as {"model": "demo/gpt2-dpo"}')
            return jsonify(training.start(body.get("model"), body.get("max_steps")))
        except BusyError as error:
            return _refused(str(error), 429)
        except DpoError as error:
            return _refused(str(error), 400)


class Training:
    """The training on votes that this dashboard started, if any: a `dpo votes train` of its own."""

    def __init__(self, votes: Votes, roots: Sequence[Path]) -> None:
        self.votes, self.roots = votes, roots
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._run: Path | None = None
        self._log: Path | None = None

    def start(self, model: Any, max_steps: Any) -> dict[str, Any]:
        """Begin, and say where.

        Raises:
            PolicyError: the model is none of the listed policies.
            ConfigError: no usable number of steps, or no vote prefers an answer.
            BusyError: one is running.
        """
        known = {choice.value: choice for choice in (*tuned(self.roots), *references(self.roots))}
        if model not in known:
            raise PolicyError(f"{str(model)[:200]!r} is not among the policies listed here: choose one of them")
        if max_steps is not None and (
            isinstance(max_steps, bool) or not isinstance(max_steps, int) or not 1 <= max_steps <= _MOST_STEPS
        ):
            raise ConfigError(f"max_steps is {max_steps!r}: it must be a whole number from 1 to {_MOST_STEPS}")
        if not preference_pairs(self.votes.all())[0]:
            raise ConfigError("No vote prefers an answer yet: vote A or B first")
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                raise BusyError(f"{self._run} is being trained now: wait until it is finished")
            bundled = BUNDLED_RUNS.resolve()
            root = next((root for root in self.roots if root.resolve() != bundled), DEFAULT_RUNS)
            self._run = root / f"votes-{known[model].family}-{datetime.now():%Y%m%d-%H%M%S}"
            command = [sys.executable, "-m", "dpo", "votes", "train", "--votes", str(self.votes.path)]
            command += ["--model", str(model), "--output-dir", str(self._run)]
            command += ["--max-steps", str(max_steps)] if max_steps is not None else []
            self._log = self.votes.path.with_suffix(".log")
            with self._log.open("wb") as log:
                self._process = _spawn(command, log)
        return self.state()

    def state(self) -> dict[str, Any]:
        """`state` (idle, running, finished, failed), the run, and the last line it said if it failed."""
        process = self._process
        if process is None or self._run is None:
            return {"state": "idle"}
        code = process.poll()
        state = "running" if code is None else "finished" if code == 0 else "failed"
        return {"state": state, "run": str(self._run), "name": self._run.name} | (
            {"message": self._last_line()} if state == "failed" else {}
        )

    def _last_line(self) -> str:
        text = self._log.read_text(encoding="utf-8", errors="replace") if self._log and self._log.exists() else ""
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
        return lines[-1][:300] if lines else "it ended without a word"


def _spawn(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    # A session of its own: closing the dashboard does not stop a training.
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )


def _refused(message: str, status: int) -> Response:
    response = jsonify({"error": message})
    response.status_code = status
    return response
