"""The Compare page: one prompt, four policies, side by side."""

from dpo.dashboard.compare.page import page, register

__all__ = ["page", "register"]
