"""The Data page: what is in preference pairs, and what is wrong with them."""

from dpo.dashboard.data.page import page, register

__all__ = ["page", "register"]
