"""Scores of a text's own tokens: plain PyTorch's, and those of our own scoring; what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flask.testing import FlaskClient
from serving import api_server

from dpo.generation.engine import Engine
from dpo.policies.loading import load_policy
from dpo.policies.scoring import score

PROMPT, ANSWER = "Do you like tea?", "Oh, I do! 🍕"
BETWEEN = {"t5": "</s>", "gpt2": "\n"}


@pytest.fixture(scope="module")
def client(policy_dirs: dict[str, Path]) -> Iterator[FlaskClient]:
    engine = Engine(device="cpu")
    yield api_server(engine, policy_dirs["t5"].parent).test_client()
    engine.close()


def scored(client: FlaskClient, name: Path, prompt: Any, **more: Any) -> Any:
    body = {"model": str(name), "prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    return client.post("/v1/completions", json=body | more).get_json()


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_texts_and_their_tokens_have_our_own_scores(
    client: FlaskClient, policy_dirs: dict[str, Path], family: str
) -> None:
    policy = load_policy(str(policy_dirs[family]), device="cpu")
    end = policy.tokenizer.eos_token
    text = f"{PROMPT}{BETWEEN[family]}{ANSWER}{end}"
    [own] = score(policy, [PROMPT], [ANSWER])
    made = scored(client, policy_dirs[family], [text, f"{PROMPT}{BETWEEN[family]}Me too"])
    first, second = made["choices"]
    found = first["logprobs"]
    assert found["token_logprobs"][-1 - len(own) : -1] == pytest.approx(own, abs=1e-5)
    assert first["text"].startswith(text) and (first["index"], second["index"]) == (0, 1)
    columns = [found[name] for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")]
    assert len({len(column) for column in columns}) == 1
    for token, value, top, offset in zip(*columns, strict=True):
        assert (value is None) == (top is None)
        if value is not None:
            assert top[token] == value and max(top.values()) >= value
        assert offset <= len(first["text"])
    assert found["text_offset"][-1] == len(text)
    start = len(found["tokens"]) - 1 - len(own)
    assert first["text"][found["text_offset"][start] :].startswith(ANSWER)
    total = sum(len(choice["logprobs"]["tokens"]) for choice in made["choices"])
    assert made["usage"] == {"prompt_tokens": total - 2, "completion_tokens": 2, "total_tokens": total}
    # What a tool's own reading of the text into tokens gives.
    ids = policy.tokenizer(text, add_special_tokens=False)["input_ids"]
    [again] = scored(client, policy_dirs[family], ids, max_tokens=0)["choices"]
    assert again["logprobs"]["token_logprobs"] == pytest.approx(found["token_logprobs"][:-1], abs=1e-5)
    assert again["logprobs"]["tokens"] == found["tokens"][:-1] and again["finish_reason"] == "length"
    nothing = scored(client, policy_dirs[family], text, logprobs=0, max_tokens=0)["choices"][0]["logprobs"]
    assert nothing["top_logprobs"] is None and nothing["token_logprobs"] == pytest.approx(
        again["logprobs"]["token_logprobs"]
    )


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_the_likeliest_tokens_are_the_models_own(
    client: FlaskClient, policy_dirs: dict[str, Path], family: str
) -> None:
    """A greedy answer is the likeliest token everywhere, and what follows it is too; to the last digit."""
    policy = load_policy(str(policy_dirs[family]), device="cpu")
    [*prompt] = policy.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    given = [*prompt, policy.eos_token_id] if family == "t5" else prompt
    answer: list[int] = []
    with torch.no_grad():
        for _ in range(4):
            if family == "t5":
                inputs = {"input_ids": torch.tensor([given]), "decoder_input_ids": torch.tensor([[0, *answer]])}
            else:
                inputs = {"input_ids": torch.tensor([given + answer])}
            logits = policy.network(**inputs).logits[0, -1].log_softmax(-1)
            answer.append(int(logits.argmax()))
    [made] = scored(client, policy_dirs[family], given + answer[:3], logprobs=5)["choices"]
    values, tops = made["logprobs"]["token_logprobs"], made["logprobs"]["top_logprobs"]
    for value, top in zip(values[len(given) :], tops[len(given) :], strict=True):
        assert value == max(top.values()) and 4 <= len(top) <= 5
    assert values[-1] == pytest.approx(float(logits.max()), abs=1e-5)
    assert sorted(tops[-1].values(), reverse=True) == pytest.approx(logits.topk(5).values.tolist(), abs=1e-5)


def test_what_cannot_be_scored_is_refused(client: FlaskClient, policy_dirs: dict[str, Path]) -> None:
    for family, more, says in (
        ("t5", {}, "put </s> between what it reads"),
        ("t5", {"prompt": "tea?</s>"}, "put </s> between"),
        ("gpt2", {"prompt": ""}, "empty"),
        ("gpt2", {"prompt": [[]]}, "prompt must be"),
        ("gpt2", {"prompt": ["a"] * 65}, "at most 64"),
        ("gpt2", {"prompt": "tea " * 500}, "reads 128"),
        ("gpt2", {"prompt": [70000]}, "not in the vocabulary"),
        ("gpt2", {"logprobs": None}, "give logprobs from 0 to 5"),
        ("gpt2", {"logprobs": 6}, "give logprobs from 0 to 5"),
        ("gpt2", {"max_tokens": 2}, "max_tokens 0, or 1"),
        ("gpt2", {"max_tokens": None}, "max_tokens 0, or 1"),
        ("gpt2", {"temperature": 0.5}, "give temperature 0"),
        ("gpt2", {"stream": True}, "stream is not offered"),
        ("gpt2", {"n": 2}, "n is not offered"),
        ("gpt2", {"lambda": 0.5}, "as it is"),
        ("gpt2", {"model": f"{policy_dirs['gpt2']}#ctranslate2"}, "as it is"),
        ("gpt2", {"model": "../x"}, "directory of runs"),
    ):
        made = scored(client, policy_dirs[family], **{"prompt": PROMPT} | more)
        assert says in made["error"]["message"], (more, made)
        assert made["error"]["type"] == "invalid_request_error"


def test_the_longest_text_is_scored(client: FlaskClient, policy_dirs: dict[str, Path]) -> None:
    """All 128 positions of the context, or one less and the token after it; a single token has no score."""
    for count, following in ((128, 0), (127, 1)):
        [made] = scored(client, policy_dirs["gpt2"], [5] * count, max_tokens=following)["choices"]
        assert len(made["logprobs"]["tokens"]) == 128
    assert "reads 128" in json.dumps(scored(client, policy_dirs["gpt2"], [5] * 128))
    [alone] = scored(client, policy_dirs["gpt2"], [5], max_tokens=0)["choices"]
    assert alone["logprobs"]["token_logprobs"] == [None]
