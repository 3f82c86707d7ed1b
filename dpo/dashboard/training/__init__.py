"""The Training page: curves of several runs, and what the policies said along the way."""

from dpo.dashboard.training.page import page
from dpo.dashboard.training.updates import register

__all__ = ["page", "register"]
