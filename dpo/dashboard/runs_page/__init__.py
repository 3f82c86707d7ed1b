"""The Runs page: all runs beside each other, what was set and what came of it."""

from dpo.dashboard.runs_page.page import page, register

__all__ = ["page", "register"]
