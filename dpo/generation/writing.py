"""Tokens to text as they come: nothing is shown that a later token could change."""

from __future__ import annotations

from dpo.policies.families import Ids
from dpo.policies.loading import Policy

_BROKEN = "\ufffd"


class Writer:
    """The text of one answer, piece by piece.

    The bytes of a character are held back until it is whole, and so is text that could be the
    beginning of a stop string.  Each step decodes the last few tokens only, not the whole answer.
    """

    def __init__(self, policy: Policy, stop: tuple[str, ...] = ()) -> None:
        self.policy, self.stop = policy, stop
        self.ids: Ids = []
        self._silent = frozenset(policy.tokenizer.all_special_ids)
        self.text = ""  # what was handed out
        self.stopped = False  # whether a stop string was met; it and what follows are never handed out
        self._context, self._read = 0, 0  # where decoding starts, for the neighbours' sake; how far text is known
        self._before = ""  # the text of the tokens between the two
        self._held = ""  # known text that may be the beginning of a stop string

    def push(self, token: int) -> str:
        """Add a token; the text that is new and safe to show."""
        self.ids.append(token)
        if token in self._silent or self._within_bytes(token):
            return ""
        text = self.policy.decode(self.ids[self._context :])
        if text.endswith(_BROKEN) or not text.startswith(self._before):
            return ""
        new = text[len(self._before) :]
        if new:
            self._context, self._read = self._read, len(self.ids)
            self._before = self.policy.decode(self.ids[self._context : self._read])
        return self._release(new)

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        if self.stopped:
            return ""
        whole = self.policy.decode(self.ids)
        new = whole[len(self.text) :] if whole.startswith(self.text) else self._held
        self._held = ""
        return self._release(new, last=True)

    def _release(self, new: str, last: bool = False) -> str:
        if not self.stop:
            self.text += new
            return new
        self._held += new
        found = [position for position in map(self._held.find, self.stop) if position >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
        else:
            keep = 0 if last else max(_overlap(self._held, text) for text in self.stop)
            cut = len(self._held) - keep
            shown, self._held = self._held[:cut], self._held[cut:]
        self.text += shown
        return shown

    def _within_bytes(self, token: int) -> bool:
        """Whether `token` is a byte of byte fallback: the run of bytes is a character only when it ends."""
        piece = self.policy.tokenizer.convert_ids_to_tokens(token)
        return isinstance(piece, str) and len(piece) == 6 and piece.startswith("<0x")


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
