"""Layouts that hold two answers and say elsewhere which one is better: a preference, two scores, a flag each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dpo.preferences.codes import MEANINGS, NAMED, SAYS, is_code, named, number, readings_of
from dpo.preferences.layouts import (
    Layout,
    Pair,
    PlainRow,
    Row,
    actual_names,
    answerable,
    cells,
    context_of,
    needed_prompt,
    pair_of,
    plain,
    prompt_column,
)
from dpo.preferences.turns import DropReason, OtherLayout, Tie, Turn, Unusable, is_turns

STEMS = ("response", "answer", "output", "completion", "generation", "summary", "text", "conversation")
SUFFIXES = (("1", "2"), ("0", "1"), ("a", "b"))
PREFERENCES = (
    "preference", "preferred", "winner", "choice", "chosen", "better", "best", "label", "labels", "overallpreference",
    "preferencestrength", "betterresponseid", "preferredresponse", "preferredanswer", "humanpreference", "selected",
)  # fmt: skip
# Scales that a card documents: "-3: Response 1 is much better than Response 2" (HelpSteer2 preference, HelpSteer3).
_DOCUMENTED = {("response1", "overallpreference"): "below-0", ("response1", "preferencestrength"): "below-0"}
_SCORES = ("score", "rating", "reward")


def layouts(rows: Sequence[Row], every: bool = False) -> list[Layout]:
    """The layouts of this module that the columns of `rows` may have.

    With `every`, a preference column in all the ways that it could be read, whatever the codes in `rows` are.
    """
    names = actual_names(rows)
    found = [_shp(), _summaries(), _arena(), _prometheus()]
    for stem in STEMS:
        for suffixes in SUFFIXES:
            if stem + suffixes[0] in names and stem + suffixes[1] in names:
                found += [*_preferred(stem, suffixes, rows, every), *_scored(stem, suffixes, names)]
    return found


def _of(first: str, second: str, by: str, prompt: str = "") -> tuple[str, str, str]:
    """`Layout.takes` of two columns of answers and what tells the better one."""
    return prompt, f"the better of {{{first}}} and {{{second}}}, by {by}", "the other one"


def _preferred(stem: str, suffixes: tuple[str, str], rows: Sequence[Row], every: bool) -> list[Layout]:
    """A layout for each preference column and each way to read it that its values allow."""
    plains = [plain(row) for row in rows]
    names = actual_names(rows)
    columns = (stem + suffixes[0], stem + suffixes[1])
    found: list[Layout] = []
    for name in PREFERENCES:
        values = [row[name] for row in plains if name in row]
        if not values or not all(isinstance(value, str | int | float) for value in values):
            continue
        signed = any(is_code(value) and number(value) < 0 for value in values)
        documented = _DOCUMENTED.get((columns[0], name)) if signed else None
        shown = ", ".join(names[column] for column in (*columns, name))
        keys = [documented] if documented else readings_of(values, suffixes)
        found += [_two(columns, suffixes, name, key, shown) for key in (SAYS if every else keys)]
    return found


def _two(columns: tuple[str, str], suffixes: tuple[str, str], column: str, reading: str, shown: str) -> Layout:
    first, second = columns

    def fits(row: PlainRow) -> bool:
        if not (answerable(row.get(first)) and answerable(row.get(second))):
            return False
        if not isinstance(row.get(column), str | int | float):
            return False
        return prompt_column(row, column) is not None or is_turns(row[first])

    def read(row: PlainRow) -> Pair:
        answers = cells(row, first, second)
        if column not in row:
            raise Unusable(DropReason.NO_PREFERENCE)
        if reading == NAMED:
            models = row.get("model" + suffixes[0]), row.get("model" + suffixes[1])
            better = named(row[column], suffixes, models)
        else:
            better = MEANINGS[reading].better(row[column])
        prompt = prompt_column(row, column)
        context = context_of(row, prompt) if prompt is not None else None
        return pair_of(context, answers[better], answers[1 - better])

    key = f"{first}-{second}-{column}:{reading}"
    takes = _of(first, second, f"{{{column}}}")
    return Layout(key, f"{shown}: {SAYS[reading]}", fits, read, 0.9, takes=takes, decides=column)


def _scored(stem: str, suffixes: tuple[str, str], names: Mapping[str, str]) -> list[Layout]:
    """A layout for each pair of scores beside the answers; WebGPT's comparisons are one (`score_0`, `score_1`)."""
    columns = (stem + suffixes[0], stem + suffixes[1])
    return [
        _by_scores(columns, (score + suffixes[0], score + suffixes[1]), names)
        for score in (*_SCORES, *(stem + score for score in _SCORES))
        if score + suffixes[0] in names and score + suffixes[1] in names
    ]


def _by_scores(columns: tuple[str, str], marks: tuple[str, str], names: Mapping[str, str]) -> Layout:
    def fits(row: PlainRow) -> bool:
        if prompt_column(row) is None or not all(answerable(row.get(name)) for name in columns):
            return False
        return all(is_code(row.get(mark)) for mark in marks)

    def read(row: PlainRow) -> Pair:
        answers = cells(row, *columns)
        asked = needed_prompt(row)
        if not all(mark in row for mark in marks):
            raise Unusable(DropReason.NO_PREFERENCE)
        scores = [number(row[mark]) for mark in marks]
        if scores[0] == scores[1]:
            raise Tie
        better = int(scores[1] > scores[0])
        return pair_of(context_of(row, asked), answers[better], answers[1 - better])

    shown = ", ".join(names[name] for name in (*columns, *marks))
    return Layout("-".join([*columns, *marks]), shown, fits, read, 0.9, takes=_of(*columns, "their scores"))


def _shp() -> Layout:
    """Stanford Human Preferences; its card: "labels: 1 if human_ref_A is preferred to human_ref_B"."""
    needed = ("history", "humanrefa", "humanrefb", "labels")

    def fits(row: PlainRow) -> bool:
        return all(name in row for name in needed) and isinstance(row["history"], str)

    def read(row: PlainRow) -> Pair:
        _, *answers, label = cells(row, *needed)
        better = MEANINGS["first-if-1"].better(label)
        return pair_of(context_of(row, "history"), answers[better], answers[1 - better])

    return Layout("shp", "history, human_ref_A, human_ref_B, labels (SHP)", fits, read,
                  takes=_of("humanrefa", "humanrefb", "{labels}", "{history}"))  # fmt: skip


def _arena() -> Layout:
    """LMSYS Arena-55k: a column that is 1 for each outcome; prompt and answers are JSON lists, an entry a turn.

    Source: the data page of Kaggle's "LMSYS - Chatbot Arena Human Preference Predictions".  From the second turn on
    each answer continues its own conversation, so that such rows have two prompts and give no pair.
    """
    flags = ("winnermodela", "winnermodelb", "winnertie")
    texts = ("prompt", "responsea", "responseb")

    def fits(row: PlainRow) -> bool:
        return all(is_code(row.get(flag)) for flag in flags) and all(_listed(row.get(text)) for text in texts)

    def read(row: PlainRow) -> Pair:
        asked, *answers = (_listed(text) for text in cells(row, *texts))
        won = [flag in row and number(row[flag]) == 1 for flag in flags]
        if sum(won) != 1:
            raise Unusable(DropReason.NO_PREFERENCE)
        if won[2]:
            raise Tie
        if not asked or not all(len(side) == len(asked) for side in answers):
            raise Unusable(DropReason.NOT_AN_ANSWER)
        if not all(isinstance(text, str) for text in (*asked, *answers[0], *answers[1])):
            raise Unusable(DropReason.NO_TEXT)
        better = won.index(True)
        sides = [_talk(asked, answers[place]) for place in (better, 1 - better)]
        return pair_of(None, *sides)

    takes = _of("responsea", "responseb", "{winnermodela} and {winnermodelb}", "{prompt}")
    return Layout("arena-55k", "prompt, response_a, response_b, winner_model_a, winner_model_b (Arena-55k)", fits, read,
                  takes=takes)  # fmt: skip


def _listed(value: Any) -> list[Any]:
    """A list, or the list that a text holds as JSON; empty where it is none."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []


def _talk(asked: Sequence[str], answers: Sequence[str]) -> list[Turn]:
    turns = zip(asked, answers, strict=True)
    return [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]


def _prometheus() -> Layout:
    """Prometheus' Preference-Collection: `instruction` and `output` are the judge's, the `orig_` columns the pair.

    Source: prometheus-eval/Preference-Collection on the hub.
    """
    answers = ("origresponsea", "origresponseb")

    def fits(row: PlainRow) -> bool:
        return all(isinstance(row.get(name), str) for name in ("originstruction", *answers, "origpreference"))

    def read(row: PlainRow) -> Pair:
        texts = cells(row, *answers)
        context = context_of(row, "originstruction")
        if "origpreference" not in row:
            raise Unusable(DropReason.NO_PREFERENCE)
        better = named(row["origpreference"], ("a", "b"))
        return pair_of(context, texts[better], texts[1 - better])

    return Layout("prometheus", "orig_instruction, orig_response_A, orig_response_B, orig_preference (Prometheus)",
                  fits, read, takes=_of(*answers, "{origpreference}", "{originstruction}"))  # fmt: skip


def _summaries() -> Layout:
    """OpenAI's summarise from feedback; the prompt is that of Stiennon et al. (2020), table 20."""

    def fits(row: PlainRow) -> bool:
        summaries = row.get("summaries")
        two = isinstance(summaries, list) and len(summaries) == 2
        return two and isinstance(row.get("info"), Mapping) and row.get("choice") in (0, 1)

    def read(row: PlainRow) -> Pair:
        if not fits(row):
            raise OtherLayout
        info, summaries, choice = cells(row, "info", "summaries", "choice")
        post = info.get("post") or info.get("article")
        texts = [summary.get("text") for summary in summaries]
        if not isinstance(post, str) or not all(isinstance(text, str) for text in texts):
            raise Unusable(DropReason.NO_TEXT)
        head = [
            f"{label}{info[name]}" for name, label in (("subreddit", "SUBREDDIT: r/"), ("title", "TITLE: "))
            if info.get(name)
        ]  # fmt: skip
        prompt = "\n".join([*head, f"POST: {post}", "TL;DR:"])
        better = int(choice)
        return Pair(prompt, texts[better].removeprefix(" "), texts[1 - better].removeprefix(" "))

    return Layout("summaries", "info, summaries, choice (summarise from feedback)", fits, read,
                  takes=("{info}", "the chosen one of {summaries}, by {choice}", "the other one"))  # fmt: skip
