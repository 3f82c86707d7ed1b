"""The Data page: what is in preference pairs, and what is wrong with them."""

from __future__ import annotations

from dash import Dash

from dpo.dashboard.data import callbacks, export
from dpo.dashboard.data.audit_jobs import Desk
from dpo.dashboard.data.page import page


def register(app: Dash, desk: Desk) -> None:
    """Callbacks and routes."""
    callbacks.register(app, desk)
    export.register(app.server, desk)


__all__ = ["page", "register"]
