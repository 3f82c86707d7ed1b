"""What a viewer hears of a job: pieces of answers as events, with the facts about each answer."""

from __future__ import annotations

import logging
import time
from itertools import combinations
from typing import Any

from dpo.errors import DpoError
from dpo.generation.jobs import Job
from dpo.generation.pieces import Piece
from dpo.policies.loading import Policy

logger = logging.getLogger(__name__)


class EventEmitter:
    """Turns pieces into events, with the facts about each answer; used by several threads."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.began = time.perf_counter()
        self.first: dict[tuple[int, int], float] = {}
        self.tokens: dict[tuple[int, int], list[int]] = {}
        self.ratios: dict[tuple[int, int], float] = {}
        self.ended: set[tuple[int, int]] = set()
        self.failed: set[int] = set()
        self.vocabularies: dict[int, int] = {}

    def set_vocabulary(self, place: int, policy: Policy) -> None:
        """Policies whose tokens mean the same can be compared token by token."""
        self.vocabularies[place] = hash((policy.family.key, len(policy.tokenizer)))

    def start(self, place: int, seen: str, prompt_tokens: int | None, note: str | None = None) -> None:
        """A policy begins to write."""
        self.began = time.perf_counter()
        self.job.emit("start", arm=place, seen=seen, prompt_tokens=prompt_tokens, note=note)

    def emit(self, piece: Piece) -> None:
        """A token of an answer, or its end."""
        key, now = (piece.place, piece.sample), time.perf_counter()
        if piece.end is None:
            self.first.setdefault(key, now - self.began)
            if piece.token is not None:
                self.tokens.setdefault(key, []).append(piece.token)
            extra: dict[str, Any] = {}
            if piece.log_ratio is not None:
                self.ratios[key] = self.ratios.get(key, 0.0) + piece.log_ratio
                extra = {"log_ratio": round(piece.log_ratio, 5)}
            self.job.emit(
                "token", arm=piece.place, sample=piece.sample, text=piece.text, tokens=piece.tokens, **extra
            )  # fmt: skip
            return
        seconds = now - self.began
        first = self.first.get(key)
        self.ended.add(key)
        ratio = self.ratios.get(key)
        self.job.emit(
            "done", arm=piece.place, sample=piece.sample, text=piece.text, tokens=piece.tokens, end=piece.end,
            seconds=round(seconds, 3), first_seconds=None if first is None else round(first, 4),
            tokens_per_second=round(piece.tokens / seconds, 1) if seconds > 0 else 0.0,
            log_ratio=None if ratio is None else round(ratio, 5),
        )  # fmt: skip

    def fail(self, place: int, error: BaseException) -> None:
        """A policy cannot answer, or not to the end."""
        self.failed.add(place)
        if isinstance(error, DpoError):
            message = " ".join(str(error).split())
        else:
            name = self.job.policies[place].policy
            logger.error("policy %s failed", name, exc_info=error)
            message = f"{name} failed ({type(error).__name__}): the server's log says more"
        self.job.emit("failed", arm=place, message=message)

    def complete(self, place: int) -> bool:
        """Whether all answers of a policy have ended."""
        return all((place, sample) in self.ended for sample in range(self.job.samples))

    def finish(self) -> None:
        """Policies that never began are skipped, and answers compared."""
        for place in range(len(self.job.policies)):
            if place not in self.failed and not any((place, k) in self.ended for k in range(self.job.samples)):
                self.job.emit("skipped", arm=place)
        self.job.same_tokens = [
            {"arms": [a, b], "share": round(_agreement(self.tokens[a, 0], self.tokens[b, 0]), 4)}
            for a, b in combinations(sorted(place for place, k in self.tokens if k == 0), 2)
            if self.vocabularies.get(a) == self.vocabularies.get(b)
        ]


def _agreement(a: list[int], b: list[int]) -> float:
    """Share of positions with the same token, of the longer answer."""
    return sum(x == y for x, y in zip(a, b, strict=False)) / max(len(a), len(b), 1)
