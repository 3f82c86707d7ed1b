"""Parts of the prompts that are looked at by themselves: the user's own, and topics found in their words (no torch)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from dpo.errors import ConfigError
from dpo.evaluation.comparison.rows import Row

_FEWEST, _IN_TOPIC, _MOST_TOPICS = 40, 25, 8  # prompts from which topics are looked for, and a topic has on average


def own_slices(asked: Sequence[str]) -> list[tuple[str, re.Pattern[str]]]:
    """Names and patterns of `NAME=PATTERN`.

    Raises:
        ConfigError: not of this form, a name twice, or no regular expression.
    """
    found: dict[str, re.Pattern[str]] = {}
    for text in asked:
        name, equals, pattern = text.partition("=")
        if not equals or not name.strip() or not pattern:
            raise ConfigError(f"--slice {text}: give NAME=PATTERN, such as code='python|function'")
        if name.strip() in found:
            raise ConfigError(f"--slice {name.strip()} is given twice")
        try:
            found[name.strip()] = re.compile(pattern, re.IGNORECASE)
        except re.error as error:
            raise ConfigError(f"--slice {name.strip()}: {pattern!r} is no regular expression ({error})") from error
    return list(found.items())


def slices_of(prompts: Sequence[Row], asked: Sequence[str]) -> dict[str, list[str]]:
    """Slices by the prompt's key: those asked for whose pattern is found in it, and its topic.

    Raises:
        ConfigError: see `own_slices`.
    """
    patterns = own_slices(asked)
    own = {row["key"]: [name for name, pattern in patterns if pattern.search(row["prompt"])] for row in prompts}
    for row, topic in zip(prompts, topics([row["prompt"] for row in prompts]), strict=True):
        if topic is not None:
            own[row["key"]].append(f"topic: {topic}")
    return {key: names for key, names in own.items() if names}


def topics(texts: Sequence[str]) -> list[str | None]:
    """The topic of each text, named by its two most telling words; None of texts without a telling word, or of few.

    K-means on TF-IDF of the words that stand in two texts or more, without English stop words; the same texts have
    the same topics.
    """
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    none: list[str | None] = [None] * len(texts)
    if len(texts) < _FEWEST:
        return none
    vectors = TfidfVectorizer(stop_words="english", min_df=2, sublinear_tf=True, token_pattern=r"(?u)\b[^\W\d_]{3,}\b")
    try:
        table = vectors.fit_transform(texts)
    except ValueError:  # no word is left
        return none
    telling = np.flatnonzero(np.asarray(table.sum(1)).ravel() > 0)
    count = min(_MOST_TOPICS, len(telling) // _IN_TOPIC, table.shape[1])
    if count < 2:
        return none
    made = KMeans(count, n_init=3, random_state=0).fit(table[telling])
    words = vectors.get_feature_names_out()
    names = [", ".join(words[place] for place in np.argsort(-centre, kind="stable")[:2]) for centre in
             made.cluster_centers_]  # fmt: skip
    for place, topic in zip(telling, made.labels_, strict=True):
        none[place] = names[topic]
    return none
