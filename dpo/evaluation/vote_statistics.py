"""What votes say: Bradley-Terry scores, and win rates per pair of policies and temperature (no torch here).

A tie counts as half a win for each side; "both bad" prefers nobody and is only counted.

Intervals are at 95 %.  From `MANY` votes on they are percentile bootstrap intervals (Efron 1979) over
votes.  With fewer, and where all votes agree, that method says far too little or nothing (five wins of
five, redrawn, are five wins of five): win rates then have Wilson's interval (1927), with a tie as half a
success, and scores a normal one by the curvature of the likelihood.  A test holds what both cover.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from dpo.evaluation.bradley_terry import bradley_terry, standard_errors
from dpo.evaluation.votes import Vote

MANY = 50
"""Votes from which on redrawing them tells how much they vary."""
_LEVEL = 0.95
_NORMAL = 1.959964  # standard errors on each side that hold this share of a normal distribution
_FEWEST = 5  # votes under which no interval is given

Method = Literal["wilson", "normal", "bootstrap"]


@dataclass(frozen=True)
class Strength:
    """A policy's Bradley-Terry score (log-odds, mean 0 over policies) with its interval, over n votes.

    `interval` is how it was made; there is none where n is under five, neither in `WinRate`.
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
        level=_LEVEL,
        strengths=tuple(strengths(votes, resamples=resamples, seed=seed)),
        win_rates=tuple(win_rates(votes, resamples=resamples, seed=seed)),
    )


def win_rates(votes: Sequence[Vote], *, resamples: int = 1000, seed: int = 0) -> list[WinRate]:
    """One row for each pair of policies and temperature, most votes first."""
    tallies: dict[tuple[str, str, float], Counter[str]] = {}
    for vote in votes:
        if vote.policy_a == vote.policy_b:
            continue
        # One order of names, so that A against B and B against A are one row (demo/t5-dpo before demo/t5).
        first = max(vote.policy_a, vote.policy_b)
        second = min(vote.policy_a, vote.policy_b)
        won = {"a": vote.policy_a, "b": vote.policy_b}.get(vote.verdict)
        outcome = vote.verdict if won is None else "win" if won == first else "loss"
        tallies.setdefault((first, second, vote.temperature), Counter())[outcome] += 1
    made = []
    for (first, second, temperature), tally in tallies.items():
        wins, losses, ties = tally["win"], tally["loss"], tally["tie"]
        made.append(
            WinRate(
                first, second, temperature, wins, losses, ties, tally["bad"],
                *_rate(wins, losses, ties, resamples, seed),
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
        low, high = wilson(wins[name], n) if n else (None, None)
        made[name] = {"wins": wins[name], "n": n, "share": wins[name] / n if n else None, "low": low, "high": high}
    return made


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of a share, `successes` of `n`; halves are allowed, n is at least 1."""
    share, z = successes / n, _NORMAL**2 / n
    middle = (share + z / 2) / (1 + z)
    half = np.sqrt(share * (1 - share) * z + z * z / 4) / (1 + z)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def strengths(votes: Sequence[Vote], *, resamples: int = 1000, seed: int = 0) -> list[Strength]:
    """Bradley-Terry scores of every policy that was voted on, strongest first."""
    outcomes: Counter[tuple[str, str, bool]] = Counter()  # (winner, loser, False), or a tie with True
    for vote in votes:
        if vote.policy_a == vote.policy_b or vote.verdict == "bad":
            continue
        a, b = vote.policy_a, vote.policy_b
        if vote.verdict == "tie":
            outcomes[min(a, b), max(a, b), True] += 1
        else:
            outcomes[(*((a, b) if vote.verdict == "a" else (b, a)), False)] += 1
    if not outcomes:
        return []
    names = sorted({name for first, second, _ in outcomes for name in (first, second)})
    place = {name: index for index, name in enumerate(names)}
    counts = np.array(list(outcomes.values()))
    # A tie is half a win each way, and the two halves are drawn together: they are one vote.
    firsts = [(place[first], place[second]) for first, second, _ in outcomes]
    duels = np.array([*firsts, *((second, first) for first, second in firsts)])
    tied = np.array([tie for _, _, tie in outcomes])

    def weights(drawn: np.ndarray) -> np.ndarray:
        return np.concatenate([np.where(tied, drawn / 2, drawn), np.where(tied, drawn / 2, 0.0)])

    scores = bradley_terry(duels, weights(counts), len(names))
    errors = standard_errors(duels, weights(counts), scores)
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=resamples)
    n = {name: sum(count for key, count in outcomes.items() if name in key[:2]) for name in names}
    redrawn = any(_varies(name, outcomes, n[name]) for name in names)
    samples = np.array([bradley_terry(duels, weights(row), len(names)) for row in drawn]) if redrawn else None
    made = []
    for i, name in enumerate(names):
        low: float | None = float(scores[i] - _NORMAL * errors[i])
        high: float | None = float(scores[i] + _NORMAL * errors[i])
        method: Method | None = "normal"
        if n[name] < _FEWEST:
            low = high = method = None
        elif samples is not None and _varies(name, outcomes, n[name]):
            low, high = _percentiles(samples[:, i])
            method = "bootstrap"
        made.append(Strength(name, float(scores[i]), low, high, n[name], method))
    return sorted(made, key=lambda strength: -strength.score)


def _varies(name: str, outcomes: Mapping[tuple[str, str, bool], int], n: int) -> bool:
    """Whether redrawing a policy's votes tells how sure its score is: there are many, and they differ."""
    kinds = {"tie" if tie else first == name for first, second, tie in outcomes if name in (first, second)}
    return n >= MANY and len(kinds) > 1


def _percentiles(samples: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(samples, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _rate(
    wins: int, losses: int, ties: int, resamples: int, seed: int
) -> tuple[float | None, float | None, float | None, Method | None]:
    """The share won with its interval and the interval's method."""
    n = wins + losses + ties
    if n == 0:
        return None, None, None, None
    share = (wins + ties / 2) / n
    if n < _FEWEST:
        return share, None, None, None
    if n < MANY or n in (wins, losses, ties):
        return share, *wilson(wins + ties / 2, n), "wilson"
    sampled = np.random.default_rng(seed).multinomial(n, np.array([wins, losses, ties]) / n, size=resamples)
    return share, *_percentiles((sampled[:, 0] + sampled[:, 2] / 2) / n), "bootstrap"
