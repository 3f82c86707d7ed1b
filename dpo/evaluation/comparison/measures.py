"""What is counted in an answer, and over all answers of a policy (no torch here).

The traits of style are those on which Human-Like DPO's pairs differ (Çalık and Akkuş 2025, arXiv
2501.05032): emoji, talk of being an AI, contractions, the first person.
"""

from __future__ import annotations

import functools
import gzip
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpo.preferences.audit.surface import COUNTED
from dpo.runs.answers import repetition

if TYPE_CHECKING:
    from pyphen import Pyphen
    from sacrebleu.metrics import BLEU

EMOJI = re.compile(COUNTED["emoji"])
SPEAKS_OF_AI = re.compile(
    r"\b(AI|A\.I\.|artificial intelligence|language model|digital (assistant|entity|intelligence)|computer program"
    r"|large language|machine learning|as a (professional|digital)|my programming"
    r"|do not (possess|have) (personal|the))\b",
    re.IGNORECASE,
)
# Not the possessive: "the dog's bone" and "it's" cannot be told apart by a pattern, pronouns' own can.
_CONTRACTION = re.compile(
    r"\b(?:\w+n['’]t|\w+['’](?:re|ve|ll|d|m)|(?:it|that|there|here|what|who|where|how|he|she|let)['’]s)\b",
    re.IGNORECASE,
)
_LETTERS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n+")
FIRST_PERSON = re.compile(r"\b(?:I|me|my|mine|myself)\b|\bI['’](?:m|ve|d|ll)\b")


def repeated_4grams(text: str) -> float:
    """Share of word 4-grams of a text that are repeats of an earlier one (seq-rep-4, Welleck et al. 2019)."""
    return repetition([text], 4)


def emoji_count(text: str) -> int:
    """Emoji in a text, as the data audit counts them."""
    return len(EMOJI.findall(text))


def flesch(text: str) -> float | None:
    """Flesch's reading ease (1948): 100 is easy, below 30 hard; None of a text without words.

    `206.835 - 1.015 words / sentences - 84.6 syllables / words`, for English; syllables are counted by where pyphen
    would hyphenate.
    """
    words = _LETTERS.findall(text)
    if not words:
        return None
    sentences = sum(bool(_LETTERS.search(part)) for part in _SENTENCE.split(text))
    syllables = sum(map(_syllables, words))
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words)


@functools.lru_cache(maxsize=50_000)
def _syllables(word: str) -> int:
    return len(_hyphens().positions(word)) + 1


@functools.cache
def _hyphens() -> Pyphen:
    from pyphen import Pyphen

    return Pyphen(lang="en_US")


def measure(text: str, tokens: int, end: str) -> dict[str, float | None]:
    """Every measure of one answer; those that are yes or no are 1 or 0.

    Args:
        tokens: EOS included.
        end: as `Generation.end` has it.
    """
    return {
        "tokens": tokens,
        "characters": len(text),
        "words": len(text.split()),
        "ended": float(end == "eos"),
        "cut": float(end == "length"),
        "repeated_4grams": repeated_4grams(text),
        "emoji": emoji_count(text),
        "has_emoji": float(bool(EMOJI.search(text))),
        "speaks_of_ai": float(bool(SPEAKS_OF_AI.search(text))),
        "contractions": len(_CONTRACTION.findall(text)),
        "first_person": len(FIRST_PERSON.findall(text)),
        "flesch": flesch(text),
    }


@dataclass(frozen=True)
class Measure:
    """How a measure is named and shown.

    `share` where an answer's value lies between 0 and 1, `signed` where it can be negative.
    """

    label: str
    share: bool = False
    signed: bool = False


MEASURES: Mapping[str, Measure] = {
    "words": Measure("words"),
    "characters": Measure("characters"),
    "tokens": Measure("tokens"),
    "ended": Measure("ended by themselves", share=True),
    "cut": Measure("cut at the limit", share=True),
    "repeated_4grams": Measure("repeated 4-grams", share=True),
    "has_emoji": Measure("hold an emoji", share=True),
    "emoji": Measure("emoji"),
    "speaks_of_ai": Measure("speak of being an AI", share=True),
    "contractions": Measure("contractions"),
    "first_person": Measure("first-person words"),
    "flesch": Measure("Flesch reading ease", signed=True),
}


def distinct(texts: Sequence[str], size: int, budget: int) -> float | None:
    """Share of different word groups of `size` among the first `budget` words (distinct-n, Li et al. 2016).

    The share falls as text grows, so only shares at one budget can be compared.  No group spans two texts;
    None where the texts have fewer words than the budget, or none.
    """
    groups: list[tuple[str, ...]] = []
    left = budget
    for text in texts:
        if left <= 0:
            break
        words = text.lower().split()[:left]
        left -= len(words)
        groups += [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
    return len(set(groups)) / len(groups) if groups and left <= 0 else None


def gzip_ratio(texts: Sequence[str], budget: int) -> float | None:
    """UTF-8 bytes over gzip's bytes of the first `budget` words: the higher, the more the texts repeat each other.

    None where the texts have fewer words than the budget, or none.
    """
    words = list(itertools.islice((word for text in texts for word in text.split()), budget))
    if not words or len(words) < budget:
        return None
    content = " ".join(words).encode("utf-8", "surrogatepass")
    return len(content) / len(gzip.compress(content, mtime=0))


def self_bleu(texts: Sequence[str]) -> float:
    """How alike several answers to one prompt are: the mean BLEU of each beside the others (Zhu et al. 2018), 0 to 1.

    Sentence BLEU of sacrebleu with its own tokenizer, on the orders that the text is long enough for.
    """
    bleu = _bleu()
    scores = [
        bleu.sentence_score(text, [other for n, other in enumerate(texts) if n != place]).score / 100
        for place, text in enumerate(texts)
    ]
    return min(1.0, math.fsum(scores) / len(scores))


@functools.cache
def _bleu() -> BLEU:
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=True)


DIVERSITY: Mapping[str, Callable[[Sequence[str], int], float | None]] = {
    "distinct_1": lambda texts, budget: distinct(texts, 1, budget),
    "distinct_2": lambda texts, budget: distinct(texts, 2, budget),
    "gzip_ratio": gzip_ratio,
}
