"""What is wrong with preference pairs: found with evidence, and put right (no torch here)."""

from dpo.preferences.audit.pipeline import audit
from dpo.preferences.audit.result import Audit, Finding
from dpo.preferences.audit.tokens import TokenLimits, Vocabulary

__all__ = ["Audit", "Finding", "TokenLimits", "Vocabulary", "audit"]
