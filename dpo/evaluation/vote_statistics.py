"""What votes say: Bradley-Terry scores, and win rates per pair of policies and temperature (no torch here).

A tie counts as half a win for each side; "both bad" prefers nobody and is only counted.

Intervals are at 95 %, with the prompt as the unit: several votes on one prompt are no independent evidence.
Win rates have Wilson's interval (1927) on the effective number of votes.  Scores have percentile bootstrap
intervals (Efron 1979) over prompts from `MANY` prompts on; with fewer, and where all votes agree, that method
says far too little or nothing (five wins of five, redrawn, are five wins of five), and the interval is a normal
one by the curvature of the likelihood, which takes votes for independent.  A test holds what both cover.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from dpo.evaluation.statistics.intervals import LEVEL, wilson, win_rate
from dpo.evaluation.statistics.strengths import bradley_terry, percentiles, resampled_by_prompt, standard_errors
from dpo.evaluation.votes import Vote

MANY = 50
"""Prompts from which on redrawing them tells how much their votes vary."""
# Keeps a policy that never lost finite, and is weak beside ten votes.
PRIOR_VARIANCE = 25.0
_NORMAL = 1.959964  # standard errors on each side that hold 95 % of a normal distribution
_FEWEST = 5  # votes under which no interval is given

_WORTH = {"win": 1.0, "tie": 0.5, "loss": 0.0}
_WORTH_OF_A = {"a": 1.0, "tie": 0.5, "b": 0.0}

Method = Literal["wilson", "normal", "bootstrap"]


@dataclass(frozen=True)
class Strength:
    """A policy's Bradley-Terry score (log-odds, mean 0 over policies) with its interval, over n votes.

    `interval` is how it was made; there is none where n is under five, and in `WinRate` none where all votes are
    on one prompt.
    """

    policy: str
    score: float
    low: float | None
    high: float | None
    n: int
    interval: Method | None = None


@dataclass(frozen=True)
class WinRate:
    """How often `first` beats `second` at one temperature: (wins + ties / 2) / (wins + losses + ties).

    None where nobody preferred anything (only "both bad").
    """

    first: str
    second: str
    temperature: float
    wins: int
    losses: int
    ties: int
    bad: int
    win_rate: float | None
    low: float | None
    high: float | None
    interval: Method | None = None

    @property
    def n(self) -> int:
        """Votes that count."""
        return self.wins + self.losses + self.ties


@dataclass(frozen=True)
class Statistics:
    """Everything that is shown about votes; `level` is that of the intervals."""

    votes: int
    blind: int
    voters: int
    level: float
    strengths: tuple[Strength, ...]
    win_rates: tuple[WinRate, ...]

    def record(self) -> dict[str, Any]:
        """As plain values."""
        made = asdict(self)
        for row, rate in zip(made["win_rates"], self.win_rates, strict=True):
            row["n"] = rate.n
        return made


def statistics(votes: Sequence[Vote], *, resamples: int = 1000, seed: int = 0) -> Statistics:
    """Scores and win rates with their intervals; the same votes and seed give the same numbers."""
    return Statistics(
        votes=len(votes),
        blind=sum(vote.blind for vote in votes),
        voters=len({vote.voter for vote in votes}),
        level=LEVEL,
        strengths=tuple(strengths(votes, resamples=resamples, seed=seed)),
        win_rates=tuple(win_rates(votes)),
    )


def win_rates(votes: Sequence[Vote]) -> list[WinRate]:
    """One row for each pair of policies and temperature, most votes first."""
    outcomes: dict[tuple[str, str, float], list[tuple[str, str]]] = {}
    for vote in votes:
        if vote.policy_a == vote.policy_b:
            continue
        # One order of names, so that A against B and B against A are one row (demo/t5-dpo before demo/t5).
        first = max(vote.policy_a, vote.policy_b)
        second = min(vote.policy_a, vote.policy_b)
        won = {"a": vote.policy_a, "b": vote.policy_b}.get(vote.verdict)
        outcome = vote.verdict if won is None else "win" if won == first else "loss"
        outcomes.setdefault((first, second, vote.temperature), []).append((outcome, vote.prompt))
    made = []
    for (first, second, temperature), found in outcomes.items():
        tally = Counter(outcome for outcome, _ in found)
        worths = [(_WORTH[outcome], prompt) for outcome, prompt in found if outcome in _WORTH]
        made.append(
            WinRate(
                first, second, temperature, tally["win"], tally["loss"], tally["tie"], tally["bad"], *_rate(worths)
            )
        )  # fmt: skip
    return sorted(made, key=lambda row: (-row.n, row.first, row.second, row.temperature))


def tally(votes: Sequence[Vote], first: str, second: str) -> dict[str, dict[str, Any]]:
    """Blind votes between two policies: for each its wins, the votes that chose one, and a Wilson interval.

    Wilson 1927; the interval that goes beside a pane, where votes are few.
    """
    wins: Counter[str] = Counter()
    for vote in votes:
        if vote.blind and {vote.policy_a, vote.policy_b} == {first, second} and vote.verdict in ("a", "b"):
            wins[vote.policy_a if vote.verdict == "a" else vote.policy_b] += 1
    n = sum(wins.values())
    made: dict[str, dict[str, Any]] = {}
    for name in (first, second):
        low, high = wilson(wins[name] / n, n) if n else (None, None)
        made[name] = {"wins": wins[name], "n": n, "share": wins[name] / n if n else None, "low": low, "high": high}
    return made


def strengths(votes: Sequence[Vote], *, resamples: int = 1000, seed: int = 0) -> list[Strength]:
    """Bradley-Terry scores of every policy that was voted on, strongest first."""
    counted = [vote for vote in votes if vote.policy_a != vote.policy_b and vote.verdict != "bad"]
    if not counted:
        return []
    names = sorted({name for vote in counted for name in (vote.policy_a, vote.policy_b)})
    place = {name: index for index, name in enumerate(names)}
    prompts = {prompt: index for index, prompt in enumerate(dict.fromkeys(vote.prompt for vote in counted))}
    wins = np.zeros((len(prompts), len(names), len(names)))
    for vote in counted:
        a, b, table = place[vote.policy_a], place[vote.policy_b], wins[prompts[vote.prompt]]
        table[a, b] += _WORTH_OF_A[vote.verdict]
        table[b, a] += 1 - _WORTH_OF_A[vote.verdict]
    every = wins.sum(0)
    scores = bradley_terry(every, PRIOR_VARIANCE)
    errors = standard_errors(every, scores, PRIOR_VARIANCE)
    bootstrapped = {name for name in names if _varies(name, counted)}
    lows, highs = scores - _NORMAL * errors, scores + _NORMAL * errors
    if bootstrapped:
        redrawn = percentiles(resampled_by_prompt(wins, resamples, seed, PRIOR_VARIANCE))
    made = []
    for name, i in place.items():
        n = sum(name in (vote.policy_a, vote.policy_b) for vote in counted)
        low: float | None = float(lows[i])
        high: float | None = float(highs[i])
        method: Method | None = "normal"
        if n < _FEWEST:
            low = high = method = None
        elif name in bootstrapped:
            low, high, method = float(redrawn[0][i]), float(redrawn[1][i]), "bootstrap"
        made.append(Strength(name, float(scores[i]), low, high, n, method))
    return sorted(made, key=lambda strength: -strength.score)


def _varies(name: str, votes: Sequence[Vote]) -> bool:
    """Whether redrawing prompts tells how sure a policy's score is: there are many, and their votes differ."""
    own = [vote for vote in votes if name in (vote.policy_a, vote.policy_b)]
    kinds = {"tie" if vote.verdict == "tie" else (vote.verdict == "a") == (vote.policy_a == name) for vote in own}
    return len({vote.prompt for vote in own}) >= MANY and len(kinds) > 1


def _rate(worths: Sequence[tuple[float, str]]) -> tuple[float | None, float | None, float | None, Method | None]:
    """The share won with its interval and the interval's method, of votes and their prompts."""
    if not worths:
        return None, None, None, None
    won, prompts = zip(*worths, strict=True)
    made = win_rate(won, clusters=prompts)
    if len(won) < _FEWEST or made.low is None:
        return made.value, None, None, None
    return made.value, made.low, made.high, "wilson"
