"""Who may judge, by name (no torch here; `dpo.evaluation.comparison.judging` opens them)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

from dpo.errors import ConfigError
from dpo.evaluation.comparison.lineage import policy_hash
from dpo.evaluation.comparison.rows import Row, key_of
from dpo.evaluation.tuning import tuning_of

Kind = Literal["rule", "reward", "model", "endpoint", "people", "outside"]
VOTED: tuple[Kind, ...] = ("people", "outside")
"""Judges that are not asked: their verdicts are on answers of their own, and are read from a file."""
Winner = Literal["a", "b", "tie", "bad", "invalid"]
"""`bad`: both are bad; `invalid`: the judge gave no verdict, which is no tie."""
_REWARDS = ("reward", "reward-per-token")


@dataclass(frozen=True)
class Duel:
    """Two answers to one prompt, in the order in which a judge is to see them."""

    prompt: Row
    first: str
    second: str


@dataclass(frozen=True)
class Verdict:
    """Who won: `a` is the first answer.  `scores` are of both answers, `raw` is what the judge wrote.

    `cost` is in tokens, `model` what the judge calls itself, `repeat` who won when it was asked once more.
    `error` says why there is no verdict and that it is worth asking again.
    """

    winner: Winner
    scores: tuple[float, float] | None = None
    raw: str | None = None
    cost: float | None = None
    error: str | None = None
    model: str | None = None
    repeat: Winner | None = None


class Judge(Protocol):
    """Judges duels.

    A new kind of judge (a reward model, an endpoint) is one more class with this method, a `Kind`, and a line
    in `parse_judge` and in `dpo.evaluation.comparison.judging.open_judge`.
    """

    def judge(self, duels: Sequence[Duel]) -> list[Verdict]:
        """One verdict for each duel, in their order."""
        ...


@dataclass(frozen=True)
class JudgeSpec:
    """A judge before it is opened.

    `identity` changes whenever its verdicts could.  `says` is what its win rate is a rate of.  `policy` is
    whose implicit reward judges, `path` the file of the votes, the name of the reward model or URL#MODEL.
    `orders` is `("",)` where the order of the two answers cannot matter, else `("ab", "ba")`: it is asked in both.
    """

    name: str
    kind: Kind
    identity: str
    says: str
    policy: str | None = None
    path: str | None = None
    orders: tuple[str, ...] = ("",)


def parse_judge(text: str, votes: str) -> JudgeSpec:
    """The judge that a command line names.

    `longer` and `emoji` are rules; `reward:POLICY` and `reward-per-token:POLICY` the implicit DPO reward of a tuned
    policy; `reward-model:NAME` a sequence classifier; `endpoint:URL#MODEL` a chat model; `votes` what people
    preferred on the Compare page; `battles:FILE` and `alpaca-eval:FILE` verdicts that were given elsewhere.

    Raises:
        ConfigError: no judge is called so.
        PolicyError: the policy is not there, or has no reference.
    """
    kind, colon, name = text.partition(":")
    if text == "longer":
        return JudgeSpec(
            "longer", "rule", key_of("rule", "longer", 1), "the longer answer, a rule that reads no meaning"
        )
    if text == "emoji":
        return JudgeSpec("emoji", "rule", key_of("rule", "emoji", 1), "more emoji, a rule that reads no meaning")
    if text == "votes":
        return JudgeSpec("votes", "people", "votes", "people's votes", path=votes)
    if kind in _REWARDS and colon and name:
        tuning = tuning_of(name)
        reference = policy_hash(tuning.reference) if tuning.reference else "adapter off"
        identity = key_of(kind, policy_hash(name), reference, tuning.beta, tuning.max_prompt, tuning.max_completion)
        says = f"agreement with the training preference of {name}" + (" per token" if kind != "reward" else "")
        return JudgeSpec(text, "reward", identity, says, policy=name)
    if kind == "reward-model" and name:
        return JudgeSpec(text, "model", key_of(kind, policy_hash(name)), f"the reward model {name}", path=name)
    if kind == "endpoint":
        return _endpoint(text, name)
    if kind in ("battles", "alpaca-eval") and name:
        return _outside(text, name)
    raise ConfigError(
        f"No judge is called {text!r}: use reward:POLICY, reward-per-token:POLICY, reward-model:NAME, "
        "endpoint:URL#MODEL, votes, battles:FILE, alpaca-eval:FILE, longer or emoji"
    )


def _endpoint(text: str, where: str) -> JudgeSpec:
    from dpo.evaluation.comparison.endpoint import MOST_TOKENS, SYSTEM, TEMPLATE

    url, _, model = where.partition("#")
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
    if not known or not model:
        raise ConfigError(f"--judge {text}: give endpoint:URL#MODEL, such as endpoint:http://gpu:8000/v1#my-7b")
    identity = key_of("endpoint", url.rstrip("/"), model, SYSTEM, TEMPLATE, MOST_TOKENS)
    return JudgeSpec(text, "endpoint", identity, f"the verdict of {model}", path=where, orders=("ab", "ba"))


def _outside(text: str, path: str) -> JudgeSpec:
    """Verdicts of a file: other content, another judge."""
    try:
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"--judge {text}: {path} cannot be read ({error.strerror or error})") from error
    return JudgeSpec(text, "outside", key_of("outside", content), f"the verdicts in {path}", path=path)
