"""OpenAI's own client against the whole dashboard: completions, chat, streams, errors; and how a chat is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from serving import dashboard

from dpo.generation.sampler import generate
from dpo.generation.settings import PLAIN, Sampling
from dpo.policies.loading import load_policy, save_policy
from dpo.preferences.turns import prompt_of

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Do you like tea?"}
TALK = [SYSTEM, USER, {"role": "assistant", "content": "I do!"}, {"role": "user", "content": "And coffee?"}]


@pytest.fixture(scope="module")
def client(policy_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    votes = tmp_path_factory.mktemp("votes") / "votes.sqlite"
    with dashboard(policy_dirs["t5"].parent, votes=votes) as address:
        yield openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)


def expected(name: Path, messages: list[dict[str, str]], **values: Any) -> str:
    """The answer to what training would have made of the messages."""
    theirs = {"temperature": 1, "top_p": 1, "repetition_penalty": 1, "max_new_tokens": 6}
    settings = Sampling.from_values(theirs | values)
    [answer] = generate(load_policy(str(name), device="cpu"), [prompt_of(messages)[0]], settings)
    return answer.text


@pytest.mark.parametrize("family", ["t5", "gpt2"])
@pytest.mark.parametrize("messages", [[USER], [SYSTEM, USER], TALK])
def test_a_chat_is_read_as_training_reads_it(
    client: openai.OpenAI, policy_dirs: dict[str, Path], family: str, messages: Any
) -> None:
    name = policy_dirs[family]
    made = client.chat.completions.create(model=str(name), messages=messages, max_completion_tokens=6, seed=4, n=2)
    texts = [expected(name, messages, seed=seed) for seed in (4, 5)]
    assert [choice.message.content for choice in made.choices] == texts
    assert all(choice.message.role == "assistant" for choice in made.choices)
    assert made.object == "chat.completion" and made.model == str(name)
    usage = made.usage
    assert usage is not None and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 2
    stream = client.chat.completions.create(
        model=str(name), messages=messages, max_tokens=6, seed=4, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == texts[0]
    assert [delta.role for delta in deltas] == ["assistant", *[None] * (len(deltas) - 1)]
    last = chunks[-2].choices[0].finish_reason
    assert last == made.choices[0].finish_reason and {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-1].usage is not None and chunks[-1].usage.prompt_tokens == usage.prompt_tokens


def test_a_chat_template_gets_every_turn(client: openai.OpenAI, policy_dirs: dict[str, Path]) -> None:
    policy = load_policy(str(policy_dirs["gpt2"]), device="cpu")
    policy.tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    name = policy_dirs["gpt2"].parent / "templated"
    save_policy(policy, name)
    [answer] = generate(policy, [TALK], replace(PLAIN, temperature=1, top_p=1, max_new_tokens=6, seed=4))
    made = client.chat.completions.create(model=str(name), messages=TALK, max_tokens=6, seed=4)  # type: ignore[arg-type]
    assert made.choices[0].message.content == answer.text
    assert made.usage is not None and made.usage.prompt_tokens == len(policy.encode_prompt(TALK))


def test_completions_models_and_stops(client: openai.OpenAI, policy_dirs: dict[str, Path]) -> None:
    name = str(policy_dirs["gpt2"])
    whole = client.completions.create(model=name, prompt="hello", max_tokens=12, seed=1, temperature=0.8, top_p=0.9)
    text = whole.choices[0].text
    streamed = client.completions.create(
        model=name, prompt="hello", max_tokens=12, seed=1, temperature=0.8, top_p=0.9, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in streamed) == text
    stop = text[3:6]
    stopped = client.completions.create(
        model=name, prompt="hello", max_tokens=12, seed=1, temperature=0.8, top_p=0.9, stop=[stop]
    ).choices[0]
    assert stopped.text == text[: text.index(stop)] and stopped.finish_reason == "stop"
    scored = client.completions.create(model=name, prompt="Do you", echo=True, logprobs=1, max_tokens=0)
    logprobs = scored.choices[0].logprobs
    assert logprobs is not None and logprobs.tokens is not None and "".join(logprobs.tokens) == "Do you"
    assert client.models.retrieve("demo/t5").id in [model.id for model in client.models.list()]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"messages": []}, "messages must be a list"),
        ({"messages": [TALK[2]]}, "the last message must be the user's"),
        ({"messages": [{"role": "user", "content": " "}]}, "not blank"),
        ({"messages": [{"role": "tool", "content": "a"}, USER]}, "the role 'tool'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "'image_url'"),
        ({"messages": [USER] * 129}, "at most"),
        ({"messages": [{"role": "user", "content": "tea " * 500}]}, "takes at most"),
        ({"max_tokens": 3, "max_completion_tokens": 3}, "give one of them"),
        ({"tools": [{"type": "function"}]}, "tools is not offered"),
        ({"response_format": {"type": "json_object"}}, "response_format is not offered"),
        ({"logprobs": True}, "logprobs is not offered"),
        ({"extra_body": {"colour": "red"}}, "colour is not offered"),
        ({"model": "demo/none"}, "neither bundled nor a run"),
        ({"temperature": 9}, "temperature is 9"),
        ({"n": 9}, "samples is 9"),
    ],
)
def test_refusals_are_the_clients_own_errors(
    client: openai.OpenAI, policy_dirs: dict[str, Path], more: dict[str, Any], says: str
) -> None:
    asked = {"model": str(policy_dirs["gpt2"]), "messages": [USER], **more}
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(**asked)
    assert says in raised.value.body["message"] and raised.value.body["type"] == "invalid_request_error"  # type: ignore[index]


def test_what_fails_within_a_stream_and_what_is_not_there(client: openai.OpenAI, policy_dirs: dict[str, Path]) -> None:
    empty = policy_dirs["t5"].parent / "nothing"
    empty.mkdir(exist_ok=True)
    with pytest.raises(openai.APIError, match="holds no policy"):
        list(client.chat.completions.create(model=str(empty), messages=[USER], stream=True))  # type: ignore[list-item]
    with pytest.raises(openai.NotFoundError, match="is not offered"):
        client.embeddings.create(model="demo/t5", input="tea")
    with pytest.raises(openai.NotFoundError, match="no model demo/none"):
        client.models.retrieve("demo/none")


def test_the_snippet_of_the_documentation_runs(client: openai.OpenAI, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "harnesses.md").read_text(encoding="utf-8")
    [snippet] = re.findall(r"```python\n(.*?)```", text, re.S)
    assert "http://127.0.0.1:8050/v1" in snippet
    exec(compile(snippet.replace("http://127.0.0.1:8050/v1", str(client.base_url)), "docs/harnesses.md", "exec"), {})
    assert capsys.readouterr().out.strip()
