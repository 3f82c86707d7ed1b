"""What votes say: Bradley-Terry scores, and win rates per pair of policies and temperature (no torch here).

Bradley and Terry 1952: `P(i beats j) = 1 / (1 + exp(s_j - s_i))`.  A tie counts as half a win for
each side; "both bad" prefers nobody and is only counted.  Intervals are percentile bootstrap
intervals (Efron 1979) over votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dpo.evaluation.votes import Vote

# Variance of the scores' prior: keeps a policy that never lost finite, and is weak beside ten votes.
_PRIOR_VARIANCE = 25.0
_LEVEL = 0.95
# Resampling fewer votes than this says nothing: one vote's interval would be a point.
_FEWEST = 5


@dataclass(frozen=True)
class Strength:
    """A policy's Bradley-Terry score (log-odds, mean 0 over policies) with its interval, over n votes.

    There is no interval where n is under five; neither in `WinRate`.
    """

    policy: str
    score: float
    low: float | None
    high: float | None
    n: int


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
    """Scores and win rates with bootstrap intervals; the same votes and seed give the same numbers."""
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
        rate, low, high = _rate(wins, losses, ties, resamples, seed)
        made.append(WinRate(first, second, temperature, wins, losses, ties, tally["bad"], rate, low, high))
    return sorted(made, key=lambda row: (-row.n, row.first, row.second, row.temperature))


def tally(votes: Sequence[Vote], first: str, second: str) -> dict[str, dict[str, Any]]:
    """Blind votes between two policies: for each its wins, the votes that chose one, and a Wilson interval.

    Wilson 1927; the interval that goes beside a pane, where votes are few.
    """
    from scipy.stats import binomtest

    wins: Counter[str] = Counter()
    for vote in votes:
        if vote.blind and {vote.policy_a, vote.policy_b} == {first, second} and vote.verdict in ("a", "b"):
            wins[vote.policy_a if vote.verdict == "a" else vote.policy_b] += 1
    n = sum(wins.values())
    made: dict[str, dict[str, Any]] = {}
    for name in (first, second):
        interval = binomtest(wins[name], n).proportion_ci(_LEVEL, method="wilson") if n else None
        made[name] = {
            "wins": wins[name],
            "n": n,
            "share": wins[name] / n if n else None,
            "low": float(interval.low) if interval else None,
            "high": float(interval.high) if interval else None,
        }
    return made


def strengths(votes: Sequence[Vote], *, resamples: int = 1000, seed: int = 0) -> list[Strength]:
    """Bradley-Terry scores of every policy that was voted on, strongest first."""
    counts: Counter[tuple[str, str]] = Counter()
    appearances: Counter[str] = Counter()
    for vote in votes:
        if vote.policy_a == vote.policy_b or vote.verdict == "bad":
            continue
        a, b = vote.policy_a, vote.policy_b
        appearances.update((a, b))
        # In half votes, so that a tie is one for each side and counts stay whole.
        if vote.verdict == "tie":
            counts[a, b] += 1
            counts[b, a] += 1
        else:
            winner, loser = (a, b) if vote.verdict == "a" else (b, a)
            counts[winner, loser] += 2
    if not counts:
        return []
    names = sorted(appearances)
    place = {name: index for index, name in enumerate(names)}
    duels = np.array([(place[winner], place[loser]) for winner, loser in counts])
    weights = np.array(list(counts.values()), dtype=float) / 2
    scores = bradley_terry(duels, weights, len(names))
    draw = np.random.default_rng(seed)
    total = weights.sum()
    drawn = draw.multinomial(round(total), weights / total, size=resamples)
    samples = np.array([bradley_terry(duels, row.astype(float), len(names)) for row in drawn])
    low, high = np.quantile(samples, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
    made = []
    for i, name in enumerate(names):
        n = appearances[name]
        enough = n >= _FEWEST
        made.append(
            Strength(name, float(scores[i]), float(low[i]) if enough else None, float(high[i]) if enough else None, n)
        )
    return sorted(made, key=lambda strength: -strength.score)


def bradley_terry(duels: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Scores `(count,)` with mean 0 from duels `(n, 2)` of (winner, loser) and their weights `(n,)`.

    A logistic regression of "the first won" on the difference of indicators, which is the
    Bradley-Terry model, with a weak Gaussian prior.
    """
    from scipy.optimize import minimize

    winners, losers = duels[:, 0], duels[:, 1]

    def loss(scores: np.ndarray) -> tuple[float, np.ndarray]:
        gap = scores[winners] - scores[losers]
        missed = 1 / (1 + np.exp(np.clip(gap, -500, 500)))  # probability of the upset
        slope = scores / _PRIOR_VARIANCE
        np.add.at(slope, winners, -weights * missed)
        np.add.at(slope, losers, weights * missed)
        value = float(weights @ np.logaddexp(0, -gap) + scores @ scores / (2 * _PRIOR_VARIANCE))
        return value, slope

    solved = minimize(loss, np.zeros(count), jac=True, method="L-BFGS-B", options={"gtol": 1e-6})
    return np.asarray(solved.x - solved.x.mean())


def _rate(
    wins: int, losses: int, ties: int, resamples: int, seed: int
) -> tuple[float | None, float | None, float | None]:
    n = wins + losses + ties
    if n == 0:
        return None, None, None
    share = (wins + ties / 2) / n
    if n < _FEWEST:
        return share, None, None
    draw = np.random.default_rng(seed)
    sampled = draw.multinomial(n, np.array([wins, losses, ties]) / n, size=resamples)
    rates = (sampled[:, 0] + sampled[:, 2] / 2) / n
    low, high = np.quantile(rates, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return share, float(low), float(high)
