"""The page of one run: what it was, what came of it, where it comes from, and what can be done with it."""

from dpo.dashboard.training.run.page import page, register

__all__ = ["page", "register"]
