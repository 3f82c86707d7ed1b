"""What the values of a preference column mean: names of an answer are read, codes are asked about.

"response_2", "model_a" or "tie" say what they mean, and so does 2 beside `answer_1` and `answer_2`.  A 0, 1 or 2
does not: Auto-J counts the answers from 0 and writes 2 for a tie, others write 0 for a tie and count from 1.
For such codes every meaning that occurs in public data is offered, and the user chooses.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo.preferences.turns import DropReason, OtherLayout, Tie, Unusable

FIRST, SECOND, TIED = 0, 1, -1
_TIES = {"tie", "ties", "tied", "same", "equal", "both", "bothbad", "neither", "none", "tiebothbad", "draw"}
_FIRST, _SECOND = {"a", "first"}, {"b", "second"}
# What stands before or after the answer's name: "model_a", "Response 1", "first response".
_NOUNS = (
    "model", "assistant", "response", "answer", "output", "completion", "candidate", "option", "choice", "system",
    "summary", "text", "conversation", "generation", "chatbot", "human", "humanref",
)  # fmt: skip


class UnknownCode(Unusable):
    """A code that the reading of the preference column, chosen by the first rows, has no meaning for."""

    def __init__(self, value: Any, known: Iterable[float]) -> None:
        self.value = str(value)[:20]
        self._codes = {*known, number(value)}
        super().__init__(f"with a preference of {self.value!r}, which the layout has no meaning for")

    def readings(self) -> tuple[str, ...]:
        """Keys of `SAYS` that have a meaning for this code and the known ones."""
        return _offered(self._codes)


@dataclass(frozen=True)
class Meaning:
    """One way to read a preference column: a sentence for the user, and the better answer for each code."""

    says: str
    codes: Mapping[float, int]
    """Code to FIRST, SECOND or TIED; without an entry the sign of the code decides (see `signed`)."""

    signed: int | None = None
    """The better answer where the code is below 0; the other one is better above, and 0 is a tie."""

    def better(self, value: Any) -> int:
        """0 or 1, the place of the better answer.

        Raises:
            Tie: neither is better.
            UnknownCode: the code has no meaning here.
            Unusable: an empty cell.
        """
        if is_tie(value):
            raise Tie
        code = number(value)
        if self.signed is not None:
            place = TIED if code == 0 else (self.signed if code < 0 else 1 - self.signed)
        elif code in self.codes:
            place = self.codes[code]
        else:
            raise UnknownCode(value, self.codes)
        if place == TIED:
            raise Tie
        return place


# Key, the code of the first answer, that of the second, and that of a tie.
_CODES: tuple[tuple[str, float, float, float | None], ...] = (
    ("from-0", 0, 1, None),
    ("first-if-1", 1, 0, None),
    ("from-1", 1, 2, None),
    ("from-0-tie-2", 0, 1, 2),
    ("first-if-1-tie-2", 1, 0, 2),
    ("from-1-tie-0", 1, 2, 0),
    ("from-1-tie-3", 1, 2, 3),
    ("first-if-1-tie-2-second-if-3", 1, 3, 2),
    ("first-if-3-tie-2-second-if-1", 3, 1, 2),
    ("from-0-tie-half", 0, 1, 0.5),
    ("first-if-1-tie-half", 1, 0, 0.5),
)


def _meaning(first: float, second: float, tie: float | None) -> Meaning:
    flags: dict[float, str] = {0: " (false)", 1: " (true)"} if {first, second} == {0, 1} and tie is None else {}
    one, other = (f"{code:g}{flags.get(code, '')}" for code in (first, second))
    says = f"{one} means the first answer is better, {other} the second"
    if tie is None:
        return Meaning(says, {first: FIRST, second: SECOND})
    return Meaning(f"{says}, {tie:g} a tie", {first: FIRST, second: SECOND, tie: TIED})


MEANINGS: dict[str, Meaning] = {key: _meaning(first, second, tie) for key, first, second, tie in _CODES} | {
    "below-0": Meaning("below 0 means the first answer is better, above 0 the second", {}, signed=FIRST),
    "above-0": Meaning("above 0 means the first answer is better, below 0 the second", {}, signed=SECOND),
}
NAMED = "named"
SAYS = {NAMED: "the preference names the better answer"} | {key: meaning.says for key, meaning in MEANINGS.items()}
"""What the user is told of each reading, by its key."""
# Sets of codes, small ones first: the first that holds all codes seen decides what is offered.
_OFFERED: tuple[tuple[set[float], tuple[str, ...]], ...] = (
    ({0, 1}, ("from-0", "first-if-1")),
    ({1, 2}, ("from-1", "from-0-tie-2")),
    ({0, 1, 2}, ("from-0-tie-2", "first-if-1-tie-2", "from-1-tie-0")),
    ({1, 2, 3}, ("from-1-tie-3", "first-if-1-tie-2-second-if-3", "first-if-3-tie-2-second-if-1")),
    ({0, 0.5, 1}, ("from-0-tie-half", "first-if-1-tie-half")),
)


def readings_of(values: Sequence[Any], suffixes: tuple[str, str]) -> list[str]:
    """Keys of `SAYS` that may be meant by the values of a preference column beside answers "_1" and "_2".

    One key where the values say it themselves; several where the user must choose; none where nothing fits.

    >>> readings_of(["answer2", "tie"], ("1", "2"))
    ['named']
    >>> readings_of([0, 1, 2], ("1", "2"))
    ['from-0-tie-2', 'first-if-1-tie-2', 'from-1-tie-0']
    """
    seen = [value for value in values if not is_tie(value) and not is_empty(value)]
    if not seen:
        return [NAMED] if values else []
    if not all(is_code(value) for value in seen):
        return [NAMED]
    if any(is_flag(value) for value in seen):
        return ["first-if-1", "from-0"]
    codes = {number(value) for value in seen}
    if min(codes) < 0:
        return ["below-0", "above-0"]
    names = {float(suffix) for suffix in suffixes if suffix.isdigit()}
    # 1 alone beside "_1" and "_2" may be the name of the first, or the second where 0 is the first.
    if codes <= names and not (codes == {1} and names == {1, 2}):
        return [NAMED]
    return list(_offered(codes))


def _offered(codes: set[float]) -> tuple[str, ...]:
    return next((keys for known, keys in _OFFERED if codes <= known), ())


def named(value: Any, suffixes: tuple[str, str], models: tuple[Any, Any] = (None, None)) -> int:
    """0 or 1: the answer that `value` names, by its column, its letter or number, or the model that wrote it.

    >>> [named(value, ("1", "2")) for value in ("Answer2", "model_a", "Second response", 1)]
    [1, 0, 1, 0]

    Raises:
        Tie: it names both or none.
        UnknownCode: a number that is neither answer's.
        OtherLayout: a name of neither.
        Unusable: an empty cell.
    """
    if is_empty(value):
        raise Unusable(DropReason.NO_PREFERENCE)
    if is_tie(value):
        raise Tie
    if models[0] != models[1] and value in models:
        return models.index(value)
    known = [float(suffix) for suffix in suffixes if suffix.isdigit()]
    if is_flag(value):
        raise UnknownCode(value, known)
    name = f"{number(value):g}" if is_code(value) else _without_noun(_letters(str(value)))
    for place, names in enumerate((_FIRST | {suffixes[0]}, _SECOND | {suffixes[1]})):
        if name in names:
            return place
    if is_code(value):
        raise UnknownCode(value, known)
    raise OtherLayout


def _without_noun(name: str) -> str:
    """What an answer is called beside such a noun: "a" of "modela"."""
    shorter = (name.removeprefix(noun).removesuffix(noun) for noun in _NOUNS)
    return next((short for short in shorter if short and short != name), name)


def is_empty(value: Any) -> bool:
    """Whether a cell holds nothing: no text, or the not-a-number that a table has in place of a missing value."""
    return not str(value).strip() or (isinstance(value, float) and math.isnan(value))


def is_tie(value: Any) -> bool:
    """Whether a cell says in words that neither answer is better ("tie", "Both bad")."""
    return isinstance(value, str) and _letters(value) in _TIES


def is_flag(value: Any) -> bool:
    """Whether a cell is true or false."""
    return str(value).strip().lower() in ("true", "false")


def is_code(value: Any) -> bool:
    """Whether a cell is a number, true or false, or the text of one, as files of comma-separated values hold it."""
    try:
        number(value)
    except Unusable:
        return False
    return True


def number(value: Any) -> float:
    """A number, or the text of one; true is 1.

    Raises:
        OtherLayout: neither, or no finite number.
        Unusable: an empty cell.
    """
    if is_empty(value):
        raise Unusable(DropReason.NO_PREFERENCE)
    text = str(value).strip().lower() if isinstance(value, str | bool) else value
    if is_flag(text):
        return float(text == "true")
    try:
        found = float(text)
    except (TypeError, ValueError, OverflowError):
        raise OtherLayout from None
    if not math.isfinite(found):
        raise OtherLayout
    return found


@functools.lru_cache(maxsize=4096)
def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())
