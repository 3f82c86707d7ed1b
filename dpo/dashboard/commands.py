"""What the command palette finds beside the pages: the runs, and the policies that can be asked."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Flask, Response, jsonify

from dpo.dashboard.choices import references, run_link, tuned
from dpo.dashboard.workbench import Workbench


def register(server: Flask, workbench: Workbench) -> None:
    """Add the route: each command with its `kind`, its `text` and the address `href` that it opens."""

    @server.get("/api/commands")
    def commands() -> Response:
        runs = [{"kind": "Run", "text": run.name, "href": run_link(run.path)} for run in workbench.runs.find()]
        known = {one.value: one.label for one in (*references(workbench.roots), *tuned(workbench.roots))}
        asked = [
            {"kind": "Policy", "text": f"Ask {label}", "href": f"/?{urlencode({'policy': value})}"}
            for value, label in known.items()
        ]
        return jsonify(runs + asked)
