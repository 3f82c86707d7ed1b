"""What can be counted in a text without reading it, for a whole Arrow column at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dpo.arrays import Floats32, Ints

# RE2 (Arrow's) and Python both take these.
_EMOJI = "[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55\u231a\u231b\u23e9-\u23f3]"
COUNTED: Mapping[str, str] = {
    "emoji": _EMOJI,
    "exclamation marks": "!",
    "question marks": r"\?",
    "commas": ",",
    "lines": "\n",
    "list items": r"(?m)^ *(?:[-*•]|\d+[.)]) ",
    "markdown": r"\*\*|```|(?m:^#)",
    "digits": "[0-9]",
    "capitals": "[A-Z]",
    "apologies and refusals": r"(?i)\b(?:sorry|apologi[sz]e|i cannot|i can't|unable to|as an ai|language model)\b",
}
EMOJI = re.compile(_EMOJI + r"[\ufe0f\u200d\U0001f3fb-\U0001f3ff]*|[\ufe0f\u200d]")
NAMES = ("length", *COUNTED, "punctuation per character")
_PRIVATE: Mapping[str, str] = {
    "e-mail address": r"[\w.+-]+@[\w-]+\.[a-zA-Z]{2,}",
    "phone number": r"(?:\+\d{1,3}[ .-]?)?\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}\b",
    "card number": r"\b(?:\d[ -]?){15}\d\b",
    "US social security number": r"\b\d{3}-\d{2}-\d{4}\b",
    "IBAN": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}\b",
    "IP address": r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
}
_SECRET: Mapping[str, str] = {
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "access token": r"\b(?:sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[0-9A-Za-z_-]{35})",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.",
}
PRIVATE = {name: re.compile(pattern, re.ASCII) for name, pattern in _PRIVATE.items()}
SECRET = {name: re.compile(pattern, re.ASCII) for name, pattern in _SECRET.items()}
# One quick question before the slow ones: an address sign, enough digits together, or a key's beginning.
_SUSPECT = (
    r"@|\d[\d .()-]{6,}\d|BEGIN [A-Z ]*PRIVATE|sk-|gh[pousr]_|hf_|AKIA|xox[abprs]-|AIza|eyJ|[A-Z]{2}\d{2} ?[A-Z0-9]{4}"
)


MARKUP = re.compile(
    r"<\|[a-zA-Z][\w -]{0,40}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<\|?/?(?:endoftext|eot_id|bos|eos)\|?>"
    r"|</s>|(?m:^### (?:Instruction|Response|Human|Assistant|User|System):)"
)
"""Tokens by which chat templates mark turns: ChatML, Llama 2 and 3, Gemma, Phi, Zephyr, Alpaca."""


def marked(texts: Any) -> Ints:
    """Places of the texts of an Arrow column that hold markup of a chat template."""
    import pyarrow.compute as pc

    return np.flatnonzero(pc.match_substring_regex(texts, MARKUP.pattern).to_numpy(zero_copy_only=False))


def features(texts: Any) -> Floats32:
    """`(rows, len(NAMES))`: the counts of an Arrow string column."""
    import pyarrow.compute as pc

    length = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.float32)
    columns = [length]
    for pattern in COUNTED.values():
        counted = pc.count_substring_regex(texts, pattern) if len(pattern) > 1 else pc.count_substring(texts, pattern)
        columns.append(counted.to_numpy(zero_copy_only=False).astype(np.float32))
    signs = pc.count_substring_regex(texts, r"[[:punct:]]").to_numpy(zero_copy_only=False).astype(np.float32)
    columns.append(signs / np.maximum(length, 1))
    return np.stack(columns, 1)


def suspects(texts: Any) -> Ints:
    """Places of the texts of an Arrow column that may hold personal data or a secret."""
    import pyarrow.compute as pc

    return np.flatnonzero(pc.match_substring_regex(texts, _SUSPECT).to_numpy(zero_copy_only=False))


def private_in(text: str) -> set[str]:
    """The kinds of personal data and secrets in a text, numbers that cannot be one left out."""
    found = {name for name, pattern in SECRET.items() if pattern.search(text)}
    for name, pattern in PRIVATE.items():
        for match in pattern.finditer(text):
            matched = match.group()
            if name == "card number" and not _luhn(matched):
                continue
            if name == "IP address" and not _public_address(matched):
                continue
            if name == "e-mail address" and matched.lower().rpartition("@")[2].startswith("example."):
                continue
            if name == "phone number" and "555" in matched:
                continue
            found.add(name)
            break
    return found


def _luhn(text: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812)."""
    digits = [int(character) for character in text if character.isdigit()]
    if len(set(digits)) < 3 or digits[0] not in (3, 4, 5, 6):
        return False
    doubled = [digit if place % 2 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(digits)]
    return sum(doubled) % 10 == 0


def _public_address(text: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False
