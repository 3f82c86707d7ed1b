"""Tokens to text as they come: nothing is shown that a later token could change."""

from __future__ import annotations

from dpo.policies.characters import BORDER, NOWHERE
from dpo.policies.families import Ids
from dpo.policies.loading import Policy

_BROKEN = "\ufffd"


class Writer:
    """The text of one answer, piece by piece.

    The bytes of a character are held back until it is whole, and so is text that could be the
    beginning of a stop string.  Bytes of which no character comes are left out: those of an answer that
    is cut within one, and what an engine draws that knows no characters.  Each step decodes the last few
    tokens only, not the whole answer.
    """

    def __init__(self, policy: Policy, stop: tuple[str, ...] = ()) -> None:
        self.policy, self.stop = policy, stop
        self.ids: Ids = []
        self.state = BORDER  # within a character, or between two
        self._characters = policy.characters
        self._silent = frozenset(policy.tokenizer.all_special_ids)
        self.text = ""  # what was handed out
        self.stopped = False  # whether a stop string was met; it and what follows are never handed out
        self._whole: Ids = []  # tokens up to the last border, without those of no character
        self._begun: Ids = []  # tokens since then
        self._context, self._read = 0, 0  # where decoding starts, for the neighbours' sake; how far text is known
        self._before = ""  # the text of the tokens between the two
        self._held = ""  # known text that may be the beginning of a stop string

    def push(self, token: int) -> str:
        """Add a token; the text that is new and safe to show."""
        self.ids.append(token)
        if not self._completes(token) or token in self._silent:
            return ""
        text = self.policy.decode(self._whole[self._context :])
        unsure = self._characters is None and text.endswith(_BROKEN)
        if unsure or not text.startswith(self._before):
            return ""
        new = text[len(self._before) :]
        if new:
            self._context, self._read = self._read, len(self._whole)
            self._before = self.policy.decode(self._whole[self._context : self._read])
        return self._release(new)

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        if self.stopped:
            return ""
        whole = self.policy.decode(self._whole)
        new = whole[len(self.text) :] if whole.startswith(self.text) else self._held
        self._held = ""
        return self._release(new, last=True)

    def _completes(self, token: int) -> bool:
        """Whether the tokens so far end at a character's border."""
        if self._characters is not None:
            step = self._characters.after(self.state, token)
            if step == NOWHERE:
                self._begun = []
                step = self._characters.after(BORDER, token)
            if step == NOWHERE:
                self.state = BORDER
                return False
            self.state = step
        self._begun.append(token)
        if self.state != BORDER:
            return False
        self._whole += self._begun
        self._begun = []
        return True

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


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
