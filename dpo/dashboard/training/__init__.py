"""The Training page: curves of several runs, and what the policies answered along the way."""

from __future__ import annotations

from dash import Dash

from dpo.dashboard.training import callbacks, jobs_api, learn
from dpo.dashboard.training.page import page
from dpo.dashboard.workbench import Workbench


def register(app: Dash, workbench: Workbench) -> None:
    """Callbacks and routes."""
    callbacks.register(app, workbench.runs)
    jobs_api.register(app.server, workbench)
    learn.register(app.server, workbench)


__all__ = ["page", "register"]
