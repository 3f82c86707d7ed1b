"""Which tokens may follow so that an answer's bytes are text: UTF-8 (RFC 3629) followed token by token.

Byte-level vocabularies (GPT-2) and byte fallback (T5, Llama) spell a rare character in several tokens.
What a model draws there need not be a character: a byte that begins one, then a word, is shown as
U+FFFD.  Here every token is a step between eight states, "at a character's border" and seven ways of
being within one, so that a step to nowhere is known before it is taken.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

States = NDArray[np.uint8]
BORDER, NOWHERE = 0, 8
"""Between two characters; and where no character can come of the bytes."""

# From a state, the bytes low to high lead to the next state.  1, 2 and 3 wait for so many continuation
# bytes; 4 to 7 are after E0, ED, F0 and F4, whose second byte is bounded (no overlong forms, no
# surrogates, nothing above U+10FFFF).
_STEPS = (
    (0, 0x00, 0x7F, 0), (0, 0xC2, 0xDF, 1), (0, 0xE0, 0xE0, 4), (0, 0xE1, 0xEC, 2), (0, 0xED, 0xED, 5),
    (0, 0xEE, 0xEF, 2), (0, 0xF0, 0xF0, 6), (0, 0xF1, 0xF3, 3), (0, 0xF4, 0xF4, 7), (1, 0x80, 0xBF, 0),
    (2, 0x80, 0xBF, 1), (3, 0x80, 0xBF, 2), (4, 0xA0, 0xBF, 1), (5, 0x80, 0x9F, 1), (6, 0x90, 0xBF, 2),
    (7, 0x80, 0x8F, 2),
)  # fmt: skip
_BYTES = np.full((9, 256), NOWHERE, dtype=np.uint8)
for _state, _low, _high, _next in _STEPS:
    _BYTES[_state, _low : _high + 1] = _next


class Characters:
    """The steps of a vocabulary: `following[state, token]` is the state after the token, `NOWHERE` if there is none.

    A special token is no text: it stands at a border only, so that an answer can't end within a character.
    """

    def __init__(self, following: States) -> None:
        self.following = _without_dead_ends(following)
        self.impossible = torch.from_numpy(self.following == NOWHERE)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Characters | None:
        """The steps of a tokenizer's tokens, or None where all of them are whole characters."""
        kinds = _decoders(tokenizer)
        if not kinds & {"ByteLevel", "ByteFallback"}:
            return None
        pieces: list[Any] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        silent = set(tokenizer.all_special_ids)
        texts = ["" if piece is None or token in silent else str(piece) for token, piece in enumerate(pieces)]
        spelled = _byte_level(texts) if "ByteLevel" in kinds else _byte_fallback(texts)
        following = np.full((8, len(texts)), NOWHERE, dtype=np.uint8)
        following[BORDER] = BORDER
        for token, spelling in spelled.items():
            for state in range(8):
                following[state, token] = _after(state, spelling)
        return cls(following)

    def after(self, state: int, token: int) -> int:
        """The state after a token."""
        return int(self.following[state, token])

    def follow(self, tokens: Sequence[int]) -> int:
        """The state after tokens from a border on; a step to nowhere begins anew at a border."""
        state = BORDER
        for token in tokens:
            step = self.after(state, token)
            state = self.after(BORDER, token) if step == NOWHERE else step
            state = BORDER if state == NOWHERE else state
        return state

    def mask(self, logits: Tensor, states: Sequence[int]) -> Tensor:
        """`logits` `(rows, tokens)` with -inf for what cannot follow, each row from its state."""
        if self.impossible.device != logits.device:
            self.impossible = self.impossible.to(logits.device)
        return logits.masked_fill(self.impossible[list(states)], -torch.inf)


class WholeCharacters(LogitsProcessor):  # type: ignore[misc]
    """The same for `generate` of transformers; `start` is where the answer begins in its rows."""

    def __init__(self, characters: Characters, start: int) -> None:
        self.characters, self.start = characters, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores with -inf for tokens that cannot follow, columns beyond the vocabulary left as they are."""
        states = [self.characters.follow(row) for row in input_ids[:, self.start :].tolist()]
        count = min(scores.size(-1), self.characters.following.shape[1])
        masked = self.characters.mask(scores[:, :count], states)
        return torch.cat([masked, scores[:, count:]], -1)


def _after(state: int, spelling: bytes) -> int:
    for byte in spelling:
        state = int(_BYTES[state, byte])
    return state


def _without_dead_ends(following: States) -> States:
    """Steps into states from which the vocabulary has no way back to a border lead nowhere too."""
    safe = {BORDER}
    while True:
        more = {state for state in range(8) if np.isin(following[state], list(safe)).any()} - safe
        if not more:
            break
        safe |= more
    return np.where(np.isin(following, list(safe)), following, NOWHERE).astype(np.uint8)


def _byte_level(texts: Sequence[str]) -> dict[int, bytes]:
    """The bytes of each token that is not plain ASCII, as the decoder of byte-level BPE reads them."""
    table = {character: byte for byte, character in bytes_to_unicode().items()}
    spelled = {}
    for token, text in enumerate(texts):
        # A token with a character that stands for no byte is text already (an added one).
        plain = any(character not in table for character in text)
        spelling = text.encode("utf-8", "replace") if plain else bytes(table[character] for character in text)
        if not spelling.isascii():
            spelled[token] = spelling
    return spelled


def _byte_fallback(texts: Sequence[str]) -> dict[int, bytes]:
    """The byte of each token that stands for one: `<0x0A>`."""
    found = {token: text for token, text in enumerate(texts) if len(text) == 6 and text[:3] == "<0x" and text[5] == ">"}
    return {token: bytes.fromhex(text[3:5]) for token, text in found.items()}


def _decoders(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The kinds of decoders that turn the tokenizer's tokens into text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None:
        return set()
    found, waiting = set(), [json.loads(backend.decoder.__getstate__())]
    while waiting:
        part = waiting.pop()
        found.add(str(part.get("type")))
        waiting += part.get("decoders", [])
    return found
