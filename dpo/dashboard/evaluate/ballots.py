"""Voting on an evaluation: which of its answers people are asked about, and their votes counted in it."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, jsonify, request

from dpo.dashboard.evaluate.found import Evaluations, OpenEvaluation, sound
from dpo.dashboard.web.reading import body, text
from dpo.dashboard.workbench import Workbench
from dpo.evaluation.comparison.people import count_votes
from dpo.evaluation.comparison.rows import key_of

PROMPTS = 40
"""That are voted on: the judge's verdicts are corrected from ten of them on."""


def register(server: Flask, workbench: Workbench, evaluations: Evaluations) -> None:
    """Add the routes; a vote itself is stored by that of all votes."""

    @server.get("/api/evaluations/ballot")
    def evaluation_ballot() -> Response:
        """What is still to be voted on by the one who asks (`voter`)."""
        found = evaluations.open(request.args.get("evaluation") or "")
        voter = (request.args.get("voter") or "")[:40]
        cast = {vote.key for vote in workbench.votes.all()}
        asked = sound(found.path, lambda: ballot(found, request.args.get("temperature", type=float)))
        every = [item | {"key": f"{item['key']}-{voter}"[:64]} for item in asked]
        left = [item for item in every if item["key"] not in cast]
        return jsonify({"items": left, "voted": len(every) - len(left), "prompts": len({one["at"] for one in every})})

    @server.post("/api/evaluations/votes")
    def evaluation_votes() -> Response:
        """Count the votes on the evaluation that are not counted yet."""
        found = evaluations.open(text(body(), "evaluation"))
        sound(found.path, lambda: [workbench.allowed.policy(name) for name in found.plan["policies"]])
        return jsonify({"added": sound(found.path, lambda: count_votes(found.path, workbench.votes.path))})


def ballot(found: OpenEvaluation, temperature: float | None) -> list[dict[str, Any]]:
    """The first answers to 40 prompts that a hash picks, which knows nothing of what is in them, in its order.

    The same ones for everybody, so that voters can be compared.
    """
    table, plan = found.table, found.plan
    known = [float(one) for one in plan["temperatures"]]
    t = temperature if temperature in known else known[0]
    single = [(at, prompt) for at, prompt in enumerate(table.prompts) if not prompt["messages"]]
    single.sort(key=lambda one: key_of("ballot", one[1]["hash"]))
    made = []
    for at, prompt in single[:PROMPTS]:
        for policy, against in plan["comparisons"]:
            for a, b in list(table.duels(policy, against, prompt, t))[:1]:
                made.append(
                    {
                        "key": key_of("ballot", a["key"], b["key"]), "at": at, "prompt": prompt["prompt"],
                        "policies": [policy, against], "texts": [a["text"], b["text"]], "seeds": [a["seed"], b["seed"]],
                        "settings": plan["sampling"] | {"seed": a["seed"]}, "temperature": t,
                    }
                )  # fmt: skip
    return made
