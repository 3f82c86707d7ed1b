"""A judge behind an OpenAI-compatible address: any model that answers `/chat/completions` (no torch here).

Asked at temperature 0 with `SYSTEM` and `TEMPLATE`, about each two answers in both orders.  One in twenty
questions is asked twice, to see how often the judge repeats itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from dpo.evaluation.comparison.judges import Duel, Verdict, Winner
from dpo.evaluation.comparison.rows import key_of
from dpo.generation.remote import API_KEY

SYSTEM = (
    "You compare two answers to the same message. Judge which one a thoughtful person would rather receive: does it "
    "answer the message, is it true, clear and natural? Length, order and decoration are no merits. "
    "End with your verdict on a line of its own: [[A]] if answer A is better, [[B]] if answer B is better, [[C]] if "
    "neither is."
)
TEMPLATE = "Message:\n{prompt}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}\n\nVerdict:"
MOST_TOKENS = 512
_VERDICT = re.compile(r"\[\[([ABC])\]\]")
_WINNERS: dict[str, Winner] = {"A": "a", "B": "b", "C": "tie"}
_TRIES, _LONGEST_WAIT = 6, 60.0
_AT_ONCE = 4
_ASKED_TWICE = 20


@dataclass(frozen=True)
class _Answer:
    text: str
    model: str | None
    tokens: float


class _Failed(Exception):
    """Why there is no answer."""


class Endpoint:
    """Asks a model to compare two answers.

    Args:
        url: up to and with `/v1`.
        model: as the server calls it.
        most_tokens: of all questions and answers together, as the server counts them; None for no limit.
        seconds: to wait for one answer.
        sleep: waits where the server asks to (status 429 or 503).
    """

    def __init__(
        self,
        url: str,
        model: str,
        most_tokens: int | None = None,
        seconds: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url, self.model, self.most_tokens = url.rstrip("/"), model, most_tokens
        self.seconds, self.sleep, self.tokens = seconds, sleep, 0.0

    def judge(self, duels: Sequence[Duel]) -> list[Verdict]:
        """A verdict for each duel; those that failed have an `error`, what the judge did not decide is `invalid`."""
        import httpx2 as httpx

        key = os.environ.get(API_KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(timeout=self.seconds, headers=headers) as client, ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(lambda duel: self._verdict(client, duel), duels))

    def _verdict(self, client: Any, duel: Duel) -> Verdict:
        try:
            made = self._asked(client, duel)
        except _Failed as error:
            return Verdict("invalid", error=str(error))
        if int(key_of(duel.prompt["hash"], duel.first, duel.second), 16) % _ASKED_TWICE == 0:
            with contextlib.suppress(_Failed):  # the verdict is there all the same
                made = replace(made, repeat=self._asked(client, duel).winner)
        return made

    def _asked(self, client: Any, duel: Duel) -> Verdict:
        """The verdict, after a second question where the first answer has none."""
        spent = 0.0
        for _ in range(2):
            answer = self._answer(client, duel)
            spent += answer.tokens
            found = _VERDICT.findall(answer.text)
            if found:
                return Verdict(_WINNERS[found[-1]], raw=answer.text, cost=spent, model=answer.model)
        return Verdict("invalid", raw=answer.text, cost=spent, model=answer.model)

    def _answer(self, client: Any, duel: Duel) -> _Answer:
        import httpx2 as httpx

        if self.most_tokens is not None and self.tokens >= self.most_tokens:
            raise _Failed(f"the limit of {self.most_tokens:,} tokens is reached")
        asked = TEMPLATE.format(prompt=duel.prompt["prompt"], first=duel.first, second=duel.second)
        body = {
            "model": self.model, "temperature": 0, "seed": 0, "max_tokens": MOST_TOKENS,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}],
        }  # fmt: skip
        for attempt in range(_TRIES):
            try:
                response = client.post(f"{self.url}/chat/completions", json=body)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _Failed(f"{self.url} can't be asked ({error or type(error).__name__})") from error
            if response.status_code not in (429, 503):
                return self._read(response)
            if attempt < _TRIES - 1:
                self.sleep(_wait(response.headers.get("retry-after"), attempt))
        raise _Failed(f"{self.url} is too busy (status {response.status_code}, {_TRIES} times)")

    def _read(self, response: Any) -> _Answer:
        if response.status_code != 200:
            raise _Failed(f"{self.url} answers with status {response.status_code} ({response.text.strip()[:120]})")
        try:
            content = response.json()
            text = content["choices"][0]["message"]["content"]
            usage = content.get("usage") or {}
            tokens = float(usage.get("total_tokens") or 0)
            if not isinstance(text, str):
                raise TypeError("no text")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _Failed(f"{self.url} answers something else than a chat completion") from error
        self.tokens += tokens
        model = content.get("model")
        return _Answer(text, model if isinstance(model, str) else None, tokens)


def open_endpoint(where: str, most_tokens: int | None) -> Endpoint:
    """The judge at `URL#MODEL`; whether it answers is seen when it is asked."""
    url, _, model = where.partition("#")
    return Endpoint(url, model, most_tokens)


def _wait(asked: str | None, attempt: int) -> float:
    """Seconds to wait: what the server asks for, else twice as long each time."""
    try:
        return min(_LONGEST_WAIT, max(0.0, float(asked))) if asked else min(_LONGEST_WAIT, 2.0**attempt)
    except ValueError:  # a date
        return min(_LONGEST_WAIT, 2.0**attempt)
