"""Pairs as a file: a selection or all of them, streamed, whatever their number."""

from __future__ import annotations

import numpy as np
from flask import Flask, Response, request
from werkzeug.exceptions import NotFound

from dpo.dashboard.audit_jobs import AuditJobs
from dpo.dashboard.data.table import TableQuery, exported, select
from dpo.dashboard.web.downloads import attachment

EXPORT = "/api/data/export"


def register(server: Flask, audits: AuditJobs) -> None:
    """Add the route: `job`, and `asked` for a selection."""

    @server.get(EXPORT)
    def export_pairs() -> Response:
        job = audits.job(request.args.get("job"))
        if job is None or job.audit is None or job.data is None or job.every is None:
            raise NotFound("This audit is no longer kept: start it again")
        text = request.args.get("asked")
        pairs = job.every if text is None else job.data.pairs
        places = np.arange(len(pairs)) if text is None else select(job, TableQuery.from_json(text))
        stem = job.label.rsplit("/", 1)[-1].split(".")[0]
        return attachment(exported(pairs, places), stem, "-all.jsonl" if text is None else "-selection.jsonl")
