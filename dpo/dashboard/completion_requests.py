"""What a request of OpenAI's protocol asks for: its fields, read strictly.

A field that would change the answer and is not offered is refused; one that asks for nothing is taken.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo.dashboard.web.names import Allowed
from dpo.errors import ConfigError, PromptError, quoted
from dpo.generation.jobs import Conversation
from dpo.generation.settings import MAX_SAMPLES, Sampling
from dpo.generation.spec import MOST_TURNS, MOST_TURNS_TEXT, PolicySpec
from dpo.preferences.turns import Unusable, as_turns, prompt_of

MOST_SCORED = 64
"""Texts that one request may have scored."""
_MOST_LIKELIEST = 5
# Their word -> ours, and their default where it is not ours.
_SETTINGS: dict[str, tuple[str, Any]] = {
    "temperature": ("temperature", 1.0),
    "top_p": ("top_p", 1.0),
    "seed": ("seed", None),
    "stop": ("stop", None),
    "top_k": ("top_k", None),
    "min_p": ("min_p", None),
    "repetition_penalty": ("repetition_penalty", 1.0),
    "no_repeat_ngram_size": ("no_repeat_ngram", None),
}
# The last three say who asks, which changes nothing.
_COMMON = {"model", "n", "stream", "stream_options", "lambda", "max_tokens", "user", "safety_identifier",
           "prompt_cache_key", *_SETTINGS}  # fmt: skip
# Known, not offered: fine as long as they ask for nothing.
_OFF: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "metadata": (None, {}),
}
_OFF_TEXT = _OFF | {"echo": (False, None), "logprobs": (None, 0, False), "best_of": (None, 1), "suffix": (None, "")}
_OFF_CHAT = _OFF | {
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "parallel_tool_calls": (None, False, True),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "store": (None, False),
    "service_tier": (None, "auto", "default"),
}
_TEXT_TOKENS, _SCORED_TOKENS = 16, (0, 1)


@dataclass(frozen=True)
class AnswerRequest:
    """Prompts to be answered by a policy."""

    spec: PolicySpec
    prompts: Sequence[str | list[int] | Conversation]
    sampling: Sampling
    samples: int


@dataclass(frozen=True)
class ScoreRequest:
    """Texts to be scored by a policy; `following` asks for the likeliest token after each."""

    spec: PolicySpec
    texts: Sequence[str | list[int]]
    likeliest: int
    following: bool


def read_completions(body: dict[str, Any], allowed: Allowed) -> AnswerRequest | ScoreRequest:
    """A body of `/v1/completions`.

    Raises:
        ConfigError: a field that is not offered, missing or out of range.
        PromptError: a prompt is blank.
    """
    if body.get("echo") is True:
        return _scored(body, allowed)
    if body.get("logprobs") not in _OFF_TEXT["logprobs"]:
        raise ConfigError("logprobs is not offered here without echo: leave it out, or have a text scored with echo")
    _check_fields(body, {"prompt"}, _OFF_TEXT)
    prompts = _prompts(body.get("prompt"))
    if len(prompts) > MAX_SAMPLES:
        raise ConfigError(f"{len(prompts)} prompts at once: send at most {MAX_SAMPLES}")
    most = _TEXT_TOKENS if body.get("max_tokens") is None else body["max_tokens"]
    return AnswerRequest(_spec(body, allowed), prompts, _sampling(body, most), _samples(body))


def read_chat(body: dict[str, Any], allowed: Allowed) -> AnswerRequest:
    """A body of `/v1/chat/completions`.

    Raises:
        ConfigError: a field that is not offered, missing or out of range.
        PromptError: the messages are no conversation that ends in a user's message.
    """
    _check_fields(body, {"messages", "max_completion_tokens"}, _OFF_CHAT)
    if None not in (body.get("max_tokens"), body.get("max_completion_tokens")):
        raise ConfigError("max_tokens and max_completion_tokens say the same: give one of them")
    most = body.get("max_completion_tokens") if body.get("max_tokens") is None else body["max_tokens"]
    prompt = _conversation(body.get("messages"))
    return AnswerRequest(_spec(body, allowed), [prompt], _sampling(body, most), _samples(body))


def wants_stream(body: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the answer is to be streamed, and its usage too.

    Raises:
        ConfigError: one of the two fields is of another kind.
    """
    stream, options = body.get("stream"), body.get("stream_options") or {}
    if stream not in (None, False, True):
        raise ConfigError(f"stream is {quoted(stream)}: it must be true or false")
    if not isinstance(options, dict):
        raise ConfigError(f"stream_options is {quoted(options)}: it must be an object")
    return bool(stream), bool(options.get("include_usage"))


def _scored(body: dict[str, Any], allowed: Allowed) -> ScoreRequest:
    off = {name: values for name, values in _OFF_TEXT.items() if name not in ("echo", "logprobs")}
    _check_fields(
        body, {"prompt", "echo", "logprobs"}, off | {"n": (None, 1), "stream": (None, False), "stop": (None, [])}
    )
    likeliest, most = body.get("logprobs"), body.get("max_tokens")
    if isinstance(likeliest, bool) or not isinstance(likeliest, int) or not 0 <= likeliest <= _MOST_LIKELIEST:
        raise ConfigError(f"echo is there to score a text: give logprobs from 0 to {_MOST_LIKELIEST} with it")
    if isinstance(most, bool) or most not in _SCORED_TOKENS:
        raise ConfigError(
            "echo scores a text and writes none: give max_tokens 0, or 1 for the likeliest token after it"
        )
    if most and _sampling(body, most).temperature != 0:
        raise ConfigError("the token after an echo is the likeliest: give temperature 0, or max_tokens 0")
    texts = _prompts(body.get("prompt"), blank=True)
    if len(texts) > MOST_SCORED:
        raise ConfigError(f"{len(texts)} texts at once: send at most {MOST_SCORED}")
    return ScoreRequest(_spec(body, allowed), texts, likeliest, bool(most))


def _check_fields(body: Mapping[str, Any], own: set[str], off: Mapping[str, tuple[Any, ...]]) -> None:
    for name, value in body.items():
        if name in off:
            if value not in off[name]:
                raise ConfigError(f"{name} is not offered here: leave it out")
        elif name not in own and name not in _COMMON:
            raise ConfigError(f"{name[:80]} is not offered here: leave it out")


def _spec(body: Mapping[str, Any], allowed: Allowed) -> PolicySpec:
    if not isinstance(body.get("model"), str):
        raise ConfigError("model is missing: /v1/models lists the names")
    return allowed.asked_for(PolicySpec.of({"policy": body["model"], "lambda": body.get("lambda")}))


def _sampling(body: Mapping[str, Any], most: Any) -> Sampling:
    values = {ours: body.get(theirs, default) for theirs, (ours, default) in _SETTINGS.items()}
    if values["seed"] is None:
        values["seed"] = secrets.randbelow(2**32)  # as with OpenAI: another answer each time unless asked otherwise
    return Sampling.from_values(values | {"max_new_tokens": most})


def _samples(body: Mapping[str, Any]) -> Any:
    return 1 if body.get("n") is None else body["n"]  # checked by the engine


def _prompts(value: Any, blank: bool = False) -> list[Any]:
    """The texts, or lists of token ids, of a request; `blank` texts are taken where they are not to be answered."""
    prompts = [value] if isinstance(value, str) or _all(value, _is_token) else value
    if not _all(prompts, lambda prompt: isinstance(prompt, str) or _all(prompt, _is_token)):
        raise ConfigError("prompt must be a text or a list of texts, each of which may be the ids of its tokens")
    if not blank and not all(prompt.strip() for prompt in prompts if isinstance(prompt, str)):
        raise PromptError("The prompt is blank: write a question or a sentence")
    return list(prompts)


def _all(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and bool(value) and all(map(fits, value))


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _conversation(messages: Any) -> Conversation:
    """The text and the turns of a conversation, as training reads those of a pair."""
    if not isinstance(messages, list) or not messages:
        raise PromptError('messages must be a list of {"role": ..., "content": ...}')
    if len(messages) > 2 * MOST_TURNS:
        raise PromptError(f"messages has {len(messages)} entries: send the last {2 * MOST_TURNS} at most")
    try:
        turns = as_turns(messages)
    except Unusable as error:
        raise PromptError(f"messages holds one {error}: give each a role and a content of text") from error
    turns = [turn | {"role": "system"} if turn["role"] == "developer" else turn for turn in turns]
    other = next((turn["role"] for turn in turns if turn["role"] not in ("system", "user", "assistant")), None)
    if other is not None:
        raise PromptError(f"a message has the role {quoted(other)}: use system, user and assistant")
    if turns[-1]["role"] != "user" or not turns[-1]["content"].strip():
        raise PromptError("the last message must be the user's and not blank: it is what is answered")
    letters = sum(len(turn["content"]) for turn in turns)
    if letters > MOST_TURNS_TEXT:
        raise PromptError(f"messages has {letters:,} characters: send {MOST_TURNS_TEXT:,} at most")
    return Conversation(*prompt_of(turns))
