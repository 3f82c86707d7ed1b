"""`train` and `sft`: from a config to a finished run on disk."""

from dpo.training.recipes.dpo import train
from dpo.training.recipes.sft import sft

__all__ = ["sft", "train"]
