"""Layouts that rate answers: a list of answers a row, or one answer a row and pairs made of those to one prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dpo.preferences.codes import is_code, number
from dpo.preferences.layouts import (
    Layout,
    Pair,
    PlainRow,
    Rated,
    Row,
    answerable,
    context_of,
    is_prompt,
    needed_prompt,
    pair_of,
    plain,
    prompt_column,
)
from dpo.preferences.turns import DropReason, OtherLayout, Tie, Unusable, as_turns, is_turns, prompt_of

# Lists of answers.  generations, ratings: distilabel's UltraFeedback task; responses_and_scores: GPT-4-LLM's
# comparison data; completions: UltraFeedback; answers with a rank: Nectar.
_LISTS = ("completions", "responses", "answers", "outputs", "candidates", "generations", "responsesandscores")
_TEXTS = ("response", "answer", "text", "content", "completion", "output")
# With -1 where a small number is the better one.
_SCORES = (("overallscore", 1), ("score", 1), ("rating", 1), ("reward", 1), ("rank", -1))
_SCORE_LISTS = (("ratings", 1), ("scores", 1), ("rewards", 1), ("rating", 1), ("ranks", -1))
_ANSWERS = ("completion", "response", "answer", "output", "messages")


def layouts(rows: Sequence[Row]) -> list[Layout]:
    """The layouts of this module; none depends on the columns of `rows`."""
    return [_listed(), *_labelled(), _helpsteer2(), _prometheus()]


def _of_rows(by: str, prompt: str = "") -> tuple[str, str, str]:
    """`Layout.takes` where each row holds one answer."""
    return prompt, f"the best answer to a prompt, by {by}", "its worst answer"


def _listed() -> Layout:
    """Several answers in a list, each with a score or a rank: the best and the worst make the pair."""

    def fits(row: PlainRow) -> bool:
        return prompt_column(row) is not None and any(_scored(row, name) for name in _LISTS)

    def read(row: PlainRow) -> Pair:
        answers = next(filter(None, (_scored(row, name) for name in _LISTS)), [])
        asked = needed_prompt(row)
        if not answers:
            raise Unusable(DropReason.NO_TEXT)
        if len(answers) < 2:
            raise Unusable(DropReason.FEW_SCORES)
        best, worst = max(answers, key=lambda a: a[1]), min(answers, key=lambda a: a[1])
        if best[1] == worst[1]:
            raise Tie
        return pair_of(context_of(row, asked), best[0], worst[0])

    return Layout("ranked", "a prompt and a list of scored answers", fits, read, 0.9, secondary=True,
                  takes=("", "the best answer of the list", "the worst answer of the list"))  # fmt: skip


def _scored(row: Mapping[str, Any], name: str) -> list[tuple[str, float]]:
    """Answers and scores of the list in column `name`: objects with both, or texts beside a list of scores."""
    values = row.get(name)
    if not isinstance(values, list):
        return []
    found: list[tuple[Any, Any]] = []
    if all(isinstance(value, Mapping) for value in values):
        for cell in map(plain, values):
            text = next((cell[key] for key in _TEXTS if isinstance(cell.get(key), str)), None)
            found.append((text, _signed(cell, _SCORES)))
    else:
        for column, sign in _SCORE_LISTS:
            scores = row.get(column)
            if isinstance(scores, list) and len(scores) == len(values):
                marks = (sign * number(score) if is_code(score) else None for score in scores)
                found = list(zip(values, marks, strict=True))
                break
    return [(text, score) for text, score in found if isinstance(text, str) and score is not None]


def _signed(cell: Mapping[str, Any], names: Sequence[tuple[str, int]]) -> float | None:
    return next((sign * number(cell[name]) for name, sign in names if is_code(cell.get(name))), None)


def _labelled() -> list[Layout]:
    """KTO of TRL: one answer and whether it is good a row.  What a 0 or 1 means is asked about."""
    words = {"true": 1.0, "good": 1.0, "desirable": 1.0, "false": 0.0, "bad": 0.0, "undesirable": 0.0}
    name = "unpaired answers with a label"

    def layout(key: str, shown: str, meaning: Mapping[str, float]) -> Layout:
        def score(value: Any) -> float:
            text = str(value).lower() if isinstance(value, str | bool) else f"{number(value):g}"
            if text not in meaning:
                raise OtherLayout
            return meaning[text]

        return _of_singles(key, f"{name} {shown}", "label", score, _ANSWERS)

    return [
        layout("labelled", "(KTO)", words),
        layout("labelled:good-if-1", "where 1 is good", {"1": 1.0, "0": 0.0}),
        layout("labelled:good-if-0", "where 0 is good", {"0": 1.0, "1": 0.0}),
    ]


def _helpsteer2() -> Layout:
    """HelpSteer and HelpSteer2: one answer and its scores a row, of which helpfulness counts."""
    return _of_singles("helpsteer2", "prompt, response, helpfulness (HelpSteer2)", "helpfulness", number, ("response",))


def _prometheus() -> Layout:
    """Prometheus' Feedback-Collection: five answers of score 1 to 5 for an instruction, one a row.

    Source: prometheus-eval/Feedback-Collection on the hub.
    """
    name = "orig_instruction, orig_response, orig_score (Prometheus)"
    return _of_singles("prometheus-scores", name, "origscore", number, ("origresponse",), "originstruction")


def _of_singles(
    key: str, name: str, column: str, score: Callable[[Any], float], answers: Sequence[str], prompt: str = ""
) -> Layout:
    """One answer a row, rated by `column`, in the first of `answers` that there is; `messages` end in it."""

    def fits(row: PlainRow) -> bool:
        try:
            score(row[column])
        except (KeyError, TypeError, ValueError):
            return False
        if "messages" in answers and is_turns(row.get("messages")):
            return True
        asked = row.get(prompt) if prompt else row.get(prompt_column(row) or "")
        return is_prompt(asked) and any(answerable(row.get(name)) for name in answers)

    def read(row: PlainRow) -> Rated:
        if column not in row:
            raise Unusable(DropReason.NO_LABEL if column == "label" else DropReason.NO_SCORE)
        mark = score(row[column])
        found = next((name for name in answers if name in row), None)
        if found == "messages":
            turns = as_turns(row["messages"])
            if turns[-1]["role"] != "assistant":
                raise Unusable(DropReason.NOT_AN_ANSWER)
            text, messages = prompt_of(turns[:-1])
            return Rated(text, turns[-1]["content"], mark, messages)
        asked = prompt or needed_prompt(row)
        if found is None or asked not in row:
            raise Unusable(DropReason.NO_TEXT)
        text, messages = prompt_of(context_of(row, asked))
        answer = row[found] if isinstance(row[found], str) else as_turns(row[found])[-1]["content"]
        return Rated(text, answer, mark, messages)

    takes = _of_rows(f"{{{column}}}", prompt and f"{{{prompt}}}")
    return Layout(key, name, fits, read, gives=Rated, takes=takes)
