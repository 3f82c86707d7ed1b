"""One exception tree: every message says what is wrong, where, and what to do.

The command line prints the message of a `DpoError` on one line and exits with 2; the
dashboard shows it in the page.  Anything else that escapes is a defect of ours.
"""

from __future__ import annotations


class DpoError(Exception):
    """Base of everything this package raises for a situation the user can mend."""


class ConfigError(DpoError):
    """A setting is unknown, out of range, or contradicts another one."""


class DataError(DpoError):
    """Preference data is missing, unreadable, empty, or not preference data."""


class PolicyError(DpoError):
    """A policy cannot be found, loaded, or used for what was asked."""


class PromptError(DpoError):
    """A prompt is blank or does not fit into the policy's context."""


class RunError(DpoError):
    """A run cannot be found, read, resumed or written."""


class StepZeroError(RunError):
    """The step-0 check failed: policy and reference disagree before the first update."""


class NonFiniteError(RunError):
    """The loss or the gradient is not a number; the run stopped before the update."""


class MemoryRunOutError(RunError):
    """Training does not fit into memory."""


class StorageError(RunError):
    """Something could not be saved (disk full, no permission); what was there before is kept."""


class HubError(DpoError):
    """The Hugging Face hub cannot be reached, or refuses what was asked."""


class BusyError(DpoError):
    """Too many wait already: the same request can be met in a moment."""


class AccessError(DpoError):
    """The server does not let whoever asks do this."""


class SignInError(AccessError):
    """The server wants to know who asks: somebody must sign in, or send a key."""


class TooLargeError(DpoError):
    """A request sends more than is taken."""


def quoted(value: object, most: int = 80) -> str:
    """A value as Python writes it, cut to `most` letters, for a message.

    >>> quoted("x" * 100, 10)
    "'xxxxxxxx…"
    """
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, for a message of our own."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
