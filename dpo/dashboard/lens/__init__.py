"""The Lens page: which tokens did tuning pull up or push down?"""

from dpo.dashboard.lens.page import page, register

__all__ = ["page", "register"]
