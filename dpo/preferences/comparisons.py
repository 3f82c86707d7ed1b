"""Layouts that hold two or more answers and say elsewhere which one is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dpo.preferences.layouts import Layout, Pair, Rated, Row, answerable, canonical, context_of, pair_of, plain
from dpo.preferences.turns import Unusable, as_turns, is_turns, prompt_of

TIE = "that are ties"
PROMPTS = ("prompt", "question", "instruction", "query", "history", "post", "context", "messages", "conversation")
STEMS = ("response", "answer", "output", "completion", "humanref", "summary", "text", "conversation")
SUFFIXES = (("1", "2"), ("0", "1"), ("a", "b"))
PREFERENCES = (
    "preference", "preferred", "winner", "choice", "chosen", "better", "best", "label", "labels", "overallpreference",
    "betterresponseid", "preferredresponse", "preferredanswer", "humanpreference", "selected",
)  # fmt: skip
_TIES = {"", "tie", "ties", "tied", "same", "equal", "both", "bothbad", "neither", "none", "tiebothbad", "draw"}
Reading = Callable[[Any, tuple[str, str], tuple[str, str]], int]


def named(value: Any, suffixes: tuple[str, str], columns: tuple[str, str]) -> int:
    """0 or 1: the answer whose name or number `value` gives ("Answer2", "b", "model_a", 1 of 1 and 2).

    Raises:
        Unusable: a tie, or no name of the two.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Unusable("of another layout")
    text = str(int(value)) if isinstance(value, int | float) and value == int(value) else str(value)
    text = "".join(character for character in text.lower() if character.isalnum())
    if text in _TIES or (text == "0" and suffixes == ("1", "2")):
        raise Unusable(TIE)
    for index in (0, 1):
        if text in (columns[index], suffixes[index]) or (len(text) > 1 and text.endswith(suffixes[index])):
            return index
    raise Unusable("of another layout")


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Unusable("of another layout") from None
    if math.isnan(number):
        raise Unusable("without text")
    return number


def _counted(start: int) -> Reading:
    def read(value: Any, suffixes: tuple[str, str], columns: tuple[str, str]) -> int:
        index = _number(value) - start
        if index not in (0, 1):
            raise Unusable("of another layout")
        return int(index)

    return read


def _flag(value: Any, suffixes: tuple[str, str], columns: tuple[str, str]) -> int:
    """1 or true: the first answer is better."""
    number = _number(value)
    if number not in (0, 1):
        raise Unusable("of another layout")
    return 1 - int(number)


def _signed(first: int) -> Reading:
    def read(value: Any, suffixes: tuple[str, str], columns: tuple[str, str]) -> int:
        number = _number(value)
        if isinstance(value, bool) or number == 0:
            raise Unusable(TIE)
        return first if number < 0 else 1 - first

    return read


# How a preference column may be meant.  Which of them fit, and whether they differ, is seen from its values.
READINGS: dict[str, tuple[str, Reading]] = {
    "named": ("the preference names the better answer", named),
    "from-0": ("the preference counts answers from 0", _counted(0)),
    "from-1": ("the preference counts answers from 1", _counted(1)),
    "first-if-1": ("the preference is 1 (true) where the first answer is better", _flag),
    "below-0": ("the preference is below 0 where the first answer is better", _signed(0)),
    "above-0": ("the preference is above 0 where the first answer is better", _signed(1)),
}


def possible_readings(values: Sequence[Any], suffixes: tuple[str, str], columns: tuple[str, str]) -> list[str]:
    """Keys of `READINGS` that could be meant by the values seen in a preference column."""
    seen = [value for value in values if value is not None]
    if not seen:
        return []
    if all(isinstance(value, bool) for value in seen):
        return ["first-if-1", "from-0"]
    if any(isinstance(value, str) and not _is_number(value) for value in seen):
        return ["named"]
    numbers = {_number(value) for value in seen}
    if min(numbers) < 0:
        return ["below-0", "above-0"]
    if suffixes == ("0", "1"):
        return ["named"] if numbers <= {0, 1} else []
    if suffixes == ("1", "2"):
        if numbers <= {1, 2} or numbers == {0, 1, 2}:
            return ["named"]
        return ["from-0", "first-if-1"] if numbers <= {0, 1} else []
    if numbers <= {1, 2} and 2 in numbers:
        return ["from-1"]
    return ["from-0", "first-if-1", *(["from-1"] if numbers == {1} else [])] if numbers <= {0, 1} else []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _prompt_column(row: dict[str, Any], *skip: str) -> str | None:
    for name in PROMPTS:
        if name in row and name not in skip and (isinstance(row[name], str) or is_turns(row[name])):
            return name
    return None


def _of(first: str, second: str, by: str) -> tuple[str, str, str]:
    """`Layout.takes` of two columns of answers and what tells the better one."""
    return "", f"the better of {{{first}}} and {{{second}}}, by {by}", "the other one"


def _of_rows(by: str) -> tuple[str, str, str]:
    """`Layout.takes` where each row holds one answer."""
    return "", f"the best answer to a prompt, by {by}", "its worst answer"


def _two(stem: str, suffixes: tuple[str, str], column: str, reading: str, shown: str) -> Layout:
    first, second = stem + suffixes[0], stem + suffixes[1]
    says, pick = READINGS[reading]

    def fits(raw: Row) -> bool:
        row = plain(raw)
        if first not in row or second not in row or column not in row:
            return False
        if not (answerable(row[first]) and answerable(row[second])) or not isinstance(row[column], str | int | float):
            return False
        return _prompt_column(row, column) is not None or is_turns(row[first])

    def read(raw: Row) -> Pair:
        row = plain(raw)
        if first not in row or second not in row or column not in row:
            raise Unusable("without text")
        better = pick(row[column], suffixes, (first, second))
        answers = (row[first], row[second])
        prompt = _prompt_column(row, column)
        context = context_of(row, prompt) if prompt is not None else None
        return pair_of(context, answers[better], answers[1 - better])

    takes = _of(first, second, f"{{{column}}}")
    return Layout(f"{first}-{second}-{column}:{reading}", f"{shown}: {says}", fits, read, 0.9, takes=takes)


def two_answers(rows: Sequence[Row]) -> list[Layout]:
    """Layouts of two answers with a preference column that fit `rows`, one for each way to read the column."""
    plains = [plain(row) for row in rows]
    actual = {canonical(str(name)): str(name) for row in rows for name in row}
    found: list[Layout] = []
    for stem in STEMS:
        for suffixes in SUFFIXES:
            columns = (stem + suffixes[0], stem + suffixes[1])
            if stem == "humanref" or not any(columns[0] in row and columns[1] in row for row in plains):
                continue
            for name in PREFERENCES:
                values = [row[name] for row in plains if name in row]
                if not values or not all(isinstance(value, str | int | float) for value in values):
                    continue
                keys = possible_readings(values, suffixes, columns)
                if name == "overallpreference" and columns[0] == "response1":
                    keys = ["below-0"]  # HelpSteer3 documents its scale
                shown = ", ".join(actual.get(column, column) for column in (*columns, name))
                found += [_two(stem, suffixes, name, key, shown) for key in keys]
    return found


def _shp() -> Layout:
    def fits(raw: Row) -> bool:
        row = plain(raw)
        return {"humanrefa", "humanrefb", "labels"} <= row.keys() and _prompt_column(row) is not None

    def read(raw: Row) -> Pair:
        row = plain(raw)
        prompt = _prompt_column(row)
        if prompt is None or not {"humanrefa", "humanrefb", "labels"} <= row.keys():
            raise Unusable("without text")
        # Stanford's card: 1 where A is preferred to B.
        better = _flag(row["labels"], ("a", "b"), ("humanrefa", "humanrefb"))
        answers = (row["humanrefa"], row["humanrefb"])
        return pair_of(context_of(row, prompt), answers[better], answers[1 - better])

    return Layout("shp", "history, human_ref_A, human_ref_B, labels (SHP)", fits, read,
                  takes=_of("humanrefa", "humanrefb", "{labels}"))  # fmt: skip


def _scored(stem: str, suffixes: tuple[str, str], score: str) -> Layout:
    columns = (stem + suffixes[0], stem + suffixes[1])
    marks = (score + suffixes[0], score + suffixes[1])
    needed = {*columns, *marks}

    def fits(raw: Row) -> bool:
        row = plain(raw)
        if not needed <= row.keys() or "humanrefa" in row or _prompt_column(row) is None:
            return False
        return all(isinstance(row[mark], int | float) or _is_number(str(row[mark])) for mark in marks)

    def read(raw: Row) -> Pair:
        row = plain(raw)
        prompt = _prompt_column(row)
        if prompt is None or not needed <= row.keys():
            raise Unusable("without text")
        scores = [_number(row[mark]) for mark in marks]
        if scores[0] == scores[1]:
            raise Unusable(TIE)
        better = int(scores[1] > scores[0])
        return pair_of(context_of(row, prompt), row[columns[better]], row[columns[1 - better]])

    return Layout("-".join([*columns, *marks]), ", ".join([*columns, *marks]), fits, read, 0.9,
                  takes=_of(*columns, "their scores"))  # fmt: skip


def _summaries() -> Layout:
    def fits(raw: Row) -> bool:
        row = plain(raw)
        summaries = row.get("summaries")
        return (
            isinstance(row.get("info"), Mapping)
            and isinstance(summaries, list)
            and len(summaries) == 2
            and row.get("choice") in (0, 1)
        )

    def read(raw: Row) -> Pair:
        row = plain(raw)
        if not fits(raw):
            raise Unusable("of another layout")
        info = row["info"]
        post = info.get("post") or info.get("article")
        texts = [summary.get("text") for summary in row["summaries"]]
        if not isinstance(post, str) or not all(isinstance(text, str) for text in texts):
            raise Unusable("without text")
        # The prompt of Stiennon et al. (2020), table 20.
        head = [
            f"{label}: {info[name]}"
            for name, label in (("subreddit", "SUBREDDIT"), ("title", "TITLE"))
            if info.get(name)
        ]
        head[:1] = [head[0].replace("SUBREDDIT: ", "SUBREDDIT: r/")] if head else []
        prompt = "\n".join([*head, f"POST: {post}", "TL;DR:"])
        better = int(row["choice"])
        return Pair(prompt, texts[better].removeprefix(" "), texts[1 - better].removeprefix(" "))

    return Layout("summaries", "info, summaries, choice (summarise from feedback)", fits, read,
                  takes=("{info}", "the chosen one of {summaries}, by {choice}", "the other one"))  # fmt: skip


_LISTS = ("completions", "responses", "answers", "outputs", "candidates")
_TEXTS = ("response", "answer", "text", "content", "completion", "output")
_SCORES = (("overallscore", 1), ("score", 1), ("rating", 1), ("reward", 1), ("rank", -1))


def _ranked() -> Layout:
    """Several answers in a list, each with a score or a rank: the best and the worst make the pair."""

    def parts(row: dict[str, Any]) -> list[tuple[str, float]]:
        values: list[Any] = next((row[name] for name in _LISTS if isinstance(row.get(name), list)), [])
        found = []
        for value in values:
            cell = plain(value) if isinstance(value, Mapping) else {}
            text = next((cell[name] for name in _TEXTS if isinstance(cell.get(name), str)), None)
            score = next((sign * _number(cell[name]) for name, sign in _SCORES if name in cell), None)
            if text is not None and score is not None:
                found.append((text, score))
        return found

    def fits(raw: Row) -> bool:
        row = plain(raw)
        try:
            return _prompt_column(row) is not None and len(parts(row)) >= 2
        except Unusable:
            return False

    def read(raw: Row) -> Pair:
        row = plain(raw)
        answers, prompt = parts(row), _prompt_column(row)
        if prompt is None or len(answers) < 2:
            raise Unusable("without text")
        best, worst = max(answers, key=lambda a: a[1]), min(answers, key=lambda a: a[1])
        if best[1] == worst[1]:
            raise Unusable(TIE)
        return pair_of(context_of(row, prompt), best[0], worst[0])

    return Layout("ranked", "a prompt and a list of scored answers", fits, read, 0.9,
                  takes=("", "the best answer of the list", "the worst answer of the list"))  # fmt: skip


def _labelled() -> Layout:
    """One answer and a good/bad label a row (KTO); pairs are made per prompt."""

    def fits(raw: Row) -> bool:
        row = plain(raw)
        if row.get("label") not in (True, False, "true", "false", "good", "bad", "desirable", "undesirable"):
            return False
        if is_turns(row.get("messages")):
            return True
        answer = next((row[name] for name in ("completion", "response", "answer", "output") if name in row), None)
        return answerable(answer) and _prompt_column(row) is not None

    def read(raw: Row) -> Rated:
        row = plain(raw)
        if "label" not in row:
            raise Unusable("without text")
        label = row["label"]
        good = label in ("true", "good", "desirable") if isinstance(label, str) else bool(label)
        return _rated(row, float(good))

    return Layout("labelled", "unpaired answers with a label (KTO)", fits, read, 1.0, rated=True,
                  takes=_of_rows("{label}"))  # fmt: skip


def _helpsteer2() -> Layout:
    """One answer and its scores a row; pairs are made per prompt, by helpfulness."""

    def fits(raw: Row) -> bool:
        row = plain(raw)
        return (
            {"response", "helpfulness"} <= row.keys()
            and isinstance(row["helpfulness"], int | float)
            and _prompt_column(row) is not None
        )

    def read(raw: Row) -> Rated:
        row = plain(raw)
        if "helpfulness" not in row:
            raise Unusable("without text")
        return _rated(row, _number(row["helpfulness"]))

    return Layout("helpsteer2", "prompt, response, helpfulness (HelpSteer2)", fits, read, rated=True,
                  takes=_of_rows("{helpfulness}"))  # fmt: skip


def _rated(row: dict[str, Any], score: float) -> Rated:
    answer = next((row[name] for name in ("completion", "response", "answer", "output") if name in row), None)
    prompt = _prompt_column(row)
    if answer is None and is_turns(row.get("messages")):
        turns = as_turns(row["messages"])
        if turns[-1]["role"] != "assistant":
            raise Unusable("that do not end in an answer")
        text, messages = prompt_of(turns[:-1])
        return Rated(text, turns[-1]["content"], score, messages)
    if answer is None or prompt is None:
        raise Unusable("without text")
    said = answer if isinstance(answer, str) else as_turns(answer)[-1]["content"]
    text, messages = prompt_of(context_of(row, prompt))
    return Rated(text, said, score, messages)


COMPARISONS: tuple[Layout, ...] = (
    _shp(),
    _summaries(),
    _ranked(),
    _labelled(),
    _helpsteer2(),
    *(
        _scored(stem, suffixes, score)
        for stem in STEMS
        for suffixes in SUFFIXES
        for score in ("score", f"{stem}score", "rating", "reward")
    ),
)
