"""Rows in, preference pairs out (no torch here)."""

from dpo.preferences.load import Preferences, load_preferences
from dpo.preferences.split import is_held_out

__all__ = ["Preferences", "is_held_out", "load_preferences"]
