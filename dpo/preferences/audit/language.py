"""Languages of prompts, and answers in another one than their prompt."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo.preferences.audit.signals import Signals

if TYPE_CHECKING:
    from datasets import Dataset

_ROWS = 400
_FEWEST = 40  # characters of prose under which a guess says little
_SURE = 0.95
_NO_PROSE = re.compile(r"```[\s\S]*?(?:```|\Z)|<(pre|code)\b[\s\S]*?</\1>|`[^`\n]*`|<[^<>\n]{1,200}>|https?://\S+")
_CODE_LINE = re.compile(r"^(?: {4}|\t)|[;{}\\]\s*$|\)\s*:\s*$|^\s*(?:#include|//|\$ |>>> )")
_CODE_SIGNS = re.compile(r"[{}()\[\];=<>_$#/\\|&*+@%\"]")
_CODE_SHARE = 0.1  # of these signs among a line's characters


def languages(pairs: Dataset, signals: Signals) -> tuple[dict[str, float], list[int], int]:
    """Shares of the languages of sampled prompts, rows whose chosen answer is in another one, rows compared.

    Only prose long enough to tell counts, code left out, and where the classifier is sure (py3langid, a fork of
    langid: Lui and Baldwin 2012).
    """
    count = min(_ROWS, len(pairs))
    places = np.sort(np.random.default_rng(0).choice(len(pairs), count, replace=False))
    batch = pairs[places.tolist()]
    counts: Counter[str] = Counter()
    differing, compared = [], 0
    for place, prompt, chosen in zip(places, batch["prompt"], batch["chosen"], strict=True):
        asked, answered = language_of(prompt[-2000:]), language_of(chosen[:2000])
        if (language := asked or answered) is not None:
            counts[language] += 1
        if asked is not None and answered is not None:
            compared += 1
            if asked != answered:
                differing.append(int(signals.row[place]))
    total = sum(counts.values())
    return {code: round(number / total, 4) for code, number in counts.most_common(8)}, differing, compared


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of the language of a text's prose; None if there is too little of it to be sure."""
    prose = prose_of(text)[:1000]
    if sum(map(str.isalpha, prose)) < _FEWEST:
        return None
    code, probability = _identifier().classify(prose)
    return str(code) if probability >= _SURE else None


def prose_of(text: str) -> str:
    """A text without its code (fenced, tagged, or lines that look like it), its tags and its addresses."""
    lines = (line for line in _NO_PROSE.sub(" ", text).splitlines() if not _is_code(line))
    return " ".join(" ".join(lines).split())


def _is_code(line: str) -> bool:
    return bool(_CODE_LINE.search(line)) or len(_CODE_SIGNS.findall(line)) > _CODE_SHARE * len(line)


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid import langid

    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
