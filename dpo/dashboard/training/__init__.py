"""The Training page: curves of several runs, and what the policies said along the way."""

from dpo.dashboard.training.callbacks import register
from dpo.dashboard.training.page import page

__all__ = ["page", "register"]
