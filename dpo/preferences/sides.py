"""Layouts that name the better and the worse answer: two columns, two conversations, or a list of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpo.preferences.layouts import (
    PROMPTS,
    Layout,
    Pair,
    PlainRow,
    Row,
    actual_names,
    answerable,
    cells,
    context_of,
    is_prompt,
    needed_prompt,
    pair_of,
    plain,
    prompt_column,
    prompts_of,
    with_system,
)
from dpo.preferences.turns import DropReason, OtherLayout, Unusable, as_turns, is_transcript, is_turns

# Columns of the better and the worse answer, and how sure their names make us: 1 where a dataset or tool documents
# them.  chosen_messages: LLaMA-Factory; response, rejected_response: ms-swift (Custom-dataset.md); response_j:
# stack-exchange-paired; answer_w, answer_l: turbo-alignment (its `context` holds the messages before).
SIDES: tuple[tuple[str, str, float], ...] = (
    ("chosen", "rejected", 1.0),
    ("responsej", "responsek", 1.0),
    ("preferredoutput", "nonpreferredoutput", 1.0),
    ("chosenmessages", "rejectedmessages", 1.0),
    ("response", "rejectedresponse", 1.0),
    ("answerw", "answerl", 1.0),
    ("preferred", "dispreferred", 0.9),
    ("chosenresponse", "rejectedresponse", 0.9),
    ("accepted", "rejected", 0.9),
    ("better", "worse", 0.9),
    ("winner", "loser", 0.9),
)
_NAMES = {
    ("question", "chosen"): "system, question, chosen, rejected (Orca)",
    ("instruction", "chosen"): "instruction, input, chosen, rejected",
    ("question", "responsej"): "question, response_j, response_k (stack-exchange)",
    ("conversations", "chosen"): "ShareGPT conversations",
    ("query", "response"): "query, response, rejected_response (ms-swift)",
    ("context", "answerw"): "context, answer_w, answer_l (turbo-alignment)",
}
_WHOLE = ("{chosen}, before its last answer", "{chosen}, the last answer", "{rejected}, the last answer")


def layouts(rows: Sequence[Row]) -> list[Layout]:
    """The layouts of this module that the columns of `rows` may have."""
    names = actual_names(rows)
    asked = list(dict.fromkeys(name for row in rows for name in prompts_of(plain(row))))
    found = [_openai(), _transcripts(), _messages(), _swift(), _better_first()]
    for good, bad, certainty in SIDES:
        if good in names and bad in names:
            found += [_two_columns(prompt, good, bad, certainty, names) for prompt in asked if prompt != good]
            if (good, bad) != ("chosen", "rejected"):  # those are `_transcripts` and `_messages`
                found.append(_two_columns(None, good, bad, certainty, names))
    return [*found, _common_prefix()]


def _two_columns(prompt: str | None, good: str, bad: str, certainty: float, names: Mapping[str, str]) -> Layout:
    """Columns `good` and `bad`, with a prompt column or, where the answers are whole conversations, without."""

    def fits(row: PlainRow) -> bool:
        if not (answerable(row.get(good)) and answerable(row.get(bad))):
            return False
        if prompt is None:
            whole = is_turns(row[good]) and len(row[good]) > 1
            return (whole or is_transcript(row[good])) and _promptless(row)
        if prompt == "messages" and not isinstance(row[good], str):
            return False  # a copy of the better conversation (UltraFeedback binarized)
        return is_prompt(row.get(prompt))

    def read(row: PlainRow) -> Pair:
        chosen, rejected = cells(row, good, bad)
        if prompt is not None:
            cells(row, prompt)
            return pair_of(context_of(row, prompt), chosen, rejected)
        if isinstance(chosen, str) != isinstance(rejected, str):
            raise OtherLayout
        return pair_of(None, chosen, rejected)

    key = "-".join(filter(None, (prompt, good, bad)))
    shown = ", ".join(names[column] for column in (prompt, good, bad) if column)
    takes = (f"{{{prompt}}}" if prompt else f"{{{good}}}, before its last answer", f"{{{good}}}", f"{{{bad}}}")
    return Layout(key, _NAMES.get((prompt or "", good), shown), fits, read, certainty, takes=takes)


def _promptless(row: PlainRow) -> bool:
    return not any(is_prompt(row.get(name)) for name in PROMPTS if name != "messages")


def _transcripts() -> Layout:
    """Anthropic's hh-rlhf: two transcripts that differ in the last answer."""

    def fits(row: PlainRow) -> bool:
        return _promptless(row) and is_transcript(row.get("chosen")) and is_transcript(row.get("rejected"))

    return Layout("transcripts", "transcripts (hh-rlhf)", fits, _whole_pair, takes=_WHOLE)


def _messages() -> Layout:
    """TRL's conversational preferences with an implicit prompt."""

    def fits(row: PlainRow) -> bool:
        return _promptless(row) and is_turns(row.get("chosen")) and is_turns(row.get("rejected"))

    return Layout("messages", "messages", fits, _whole_pair, takes=_WHOLE)


def _whole_pair(row: PlainRow) -> Pair:
    return pair_of(None, *cells(row, "chosen", "rejected"))


def _openai() -> Layout:
    """OpenAI's preference fine-tuning: `input.messages`, and the two outputs as messages."""

    def turns(row: PlainRow) -> Any:
        return row["input"].get("messages") if isinstance(row.get("input"), Mapping) else None

    def fits(row: PlainRow) -> bool:
        return is_turns(turns(row)) and "preferredoutput" in row and "nonpreferredoutput" in row

    def read(row: PlainRow) -> Pair:
        context = turns(row)
        answers = cells(row, "preferredoutput", "nonpreferredoutput")
        if context is None:
            raise Unusable(DropReason.NO_TEXT)
        return pair_of(as_turns(context), *answers)

    return Layout("openai", "input.messages, preferred_output, non_preferred_output (OpenAI)", fits, read,
                  takes=("{input}.messages", "{preferredoutput}", "{nonpreferredoutput}"))  # fmt: skip


def _swift() -> Layout:
    """ms-swift: `messages` end in the better answer; the worse one is a text or messages of its own.

    Source: ms-swift, docs/source_en/Customization/Custom-dataset.md, "DPO/ORPO/CPO/SimPO/RM".
    """
    worse = ("rejectedresponse", "rejectedmessages")

    def fits(row: PlainRow) -> bool:
        return is_turns(row.get("messages")) and any(answerable(row.get(name)) for name in worse)

    def read(row: PlainRow) -> Pair:
        rejected = next((row[name] for name in worse if name in row), None)
        turns = as_turns(*cells(row, "messages"))
        if rejected is None:
            raise Unusable(DropReason.NO_TEXT)
        if turns[-1]["role"] != "assistant":
            raise Unusable(DropReason.NOT_AN_ANSWER)
        return pair_of(with_system(turns[:-1], row.get("system")), turns[-1]["content"], rejected)

    takes = ("{messages}, before the last answer", "{messages}, the last answer",
             "{rejectedresponse} or {rejectedmessages}")  # fmt: skip
    return Layout("swift", "messages, rejected_response or rejected_messages (ms-swift)", fits, read, takes=takes)


def _better_first() -> Layout:
    """A list of the better and the worse answer.

    Source: LLaMA-Factory, data/README.md of 2023: "output" of a preference dataset is a list whose first answer is
    the better one.
    """

    def fits(row: PlainRow) -> bool:
        output = row.get("output")
        two = isinstance(output, list) and len(output) == 2 and all(isinstance(text, str) for text in output)
        return two and isinstance(row.get(prompt_column(row) or ""), str)

    def read(row: PlainRow) -> Pair:
        asked, (output,) = needed_prompt(row), cells(row, "output")
        if not isinstance(output, list) or len(output) != 2 or not all(isinstance(text, str) for text in output):
            raise OtherLayout
        return pair_of(context_of(row, asked), *output)

    return Layout("better-first", "output: [better, worse] (LLaMA-Factory)", fits, read, 0.8,
                  takes=("", "the first of {output}", "the second of {output}"))  # fmt: skip


def _common_prefix() -> Layout:
    def fits(row: PlainRow) -> bool:
        sides = (row.get("chosen"), row.get("rejected"))
        return all(isinstance(side, str) and not is_transcript(side) for side in sides) and _promptless(row)

    def read(row: PlainRow) -> Pair:
        chosen, rejected = cells(row, "chosen", "rejected")
        end = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
        end = min(len(chosen), len(rejected)) if end is None else end
        end = max(chosen.rfind(" ", 0, end), chosen.rfind("\n", 0, end))
        if end <= 0:
            raise Unusable(DropReason.NO_COMMON_BEGINNING)
        return Pair(chosen[:end], chosen[end + 1 :], rejected[end + 1 :])

    takes = ("what {chosen} and {rejected} both begin with", "the rest of {chosen}", "the rest of {rejected}")
    name = "chosen, rejected; what both begin with is the prompt"
    return Layout("common-prefix", name, fits, read, 0.5, True, takes=takes)
