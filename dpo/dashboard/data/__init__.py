"""The Data page: what is in preference pairs, and what is wrong with them."""

from __future__ import annotations

from dash import Dash

from dpo.dashboard.data import callbacks, ches, cleaning, export
from dpo.dashboard.data.page import page
from dpo.dashboard.workbench import Workbench


def register(app: Dash, workbench: Workbench) -> None:
    """Callbacks and routes."""
    callbacks.register(app, workbench.audits, workbench.allowed)
    ches.register(app, workbench)
    cleaning.register(app, workbench.audits)
    export.register(app.server, workbench.audits)


__all__ = ["page", "register"]
