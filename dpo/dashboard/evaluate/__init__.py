"""The Evaluate page: is a policy better, by how much, how sure, and at what price?"""

from __future__ import annotations

from dash import Dash

from dpo.dashboard.evaluate import api
from dpo.dashboard.evaluate.page import callbacks, page
from dpo.dashboard.workbench import Workbench


def register(app: Dash, workbench: Workbench) -> None:
    """Callbacks and routes."""
    callbacks(app)
    api.register(app.server, workbench)


__all__ = ["page", "register"]
