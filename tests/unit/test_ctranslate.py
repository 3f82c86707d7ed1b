"""The optional CTranslate2 engine says what torch says (where it is installed)."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dpo.errors import ConfigError
from dpo.generation.engine import Engine
from dpo.generation.sampler import stream
from dpo.generation.settings import PLAIN, Sampling
from dpo.generation.spec import PolicySpec
from dpo.policies.loading import Policy, load_policy
from dpo.policies.scoring import score

pytest.importorskip("ctranslate2")
from dpo.generation.ctranslate import converted

PROMPT = "Do you have a favorite food?"
ANSWERS = ["I love pizza! 🍕", "As an AI, I do not eat."]
NAMES = ["demo/t5", "demo/gpt2-dpo"]


@pytest.fixture(scope="module", params=NAMES)
def policy(request: pytest.FixtureRequest) -> Policy:
    return load_policy(request.param, device="cpu")


def test_distributions_are_those_of_torch_and_int8_is_near(policy: Policy) -> None:
    prompt = policy.encode_prompt(PROMPT)
    for text, theirs in zip(ANSWERS, score(policy, [PROMPT] * 2, ANSWERS), strict=True):
        ids = policy.family.encode_completions(policy.tokenizer, [text])[0]
        assert converted(policy, "float32").log_probs(prompt, ids) == pytest.approx(theirs, abs=1e-4)
        int8 = converted(policy, "int8").log_probs(prompt, ids)
        difference = max(abs(a - b) for a, b in zip(int8, theirs, strict=True))
        assert 1e-4 < difference < 0.5  # rounding is seen, and small


def test_greedy_text_is_that_of_torch(policy: Policy) -> None:
    settings = replace(PLAIN, temperature=0, max_new_tokens=30, stop=("never said",))
    pieces = list(converted(policy, "float32").stream(policy, policy.encode_prompt(PROMPT), settings))
    theirs = list(stream(policy, PROMPT, settings))
    assert "".join(p.text for p in pieces) == "".join(p.text for p in theirs)
    assert (pieces[-1].tokens, pieces[-1].end) == (theirs[-1].tokens, theirs[-1].end)


def test_it_stops_and_refuses(policy: Policy) -> None:
    engine = converted(policy, "float32")
    assert engine is converted(policy, "float32")
    seen: list[str] = []
    pieces = []
    asked = policy.encode_prompt(PROMPT)
    for piece in engine.stream(policy, asked, Sampling(max_new_tokens=50), lambda: len(seen) >= 3):
        seen.append(piece.text)
        pieces.append(piece)
    assert pieces[-1].end == "cancelled" and pieces[-1].tokens <= 4
    with pytest.raises(ConfigError, match="min_p is not for CTranslate2"):
        list(engine.stream(policy, asked, Sampling(min_p=0.1)))
    with pytest.raises(ConfigError, match="only answers as the policy is"):
        PolicySpec("demo/t5", 0.5, None, "ctranslate2").validate()


def test_int8_says_how_far_it_is(policy: Policy) -> None:
    told = converted(policy, "int8").difference(policy, PROMPT, policy.encode_prompt(PROMPT))
    found = re.search(r"by (\d\.\d\d) nat on average, (\d\.\d\d) at most \(n = (\d+)\)", told or "")
    assert found is not None
    mean, worst, count = map(float, found.groups())
    assert mean <= worst < 0.5 and count > 5
    assert converted(policy, "int8").difference(policy, "another prompt", []) == told  # measured once


def test_it_is_an_arm_beside_others() -> None:
    engine = Engine(device="cpu")
    try:
        name = "demo/gpt2"
        settings = Sampling(temperature=0, max_new_tokens=8)
        job = engine.submit("hello", [f"{name}#ctranslate2", name], settings)
        found = list(engine.follow(job))
    finally:
        engine.close()
    assert [event for event in found if event["event"] == "failed"] == []
    texts = ["".join(e["text"] for e in found if e.get("arm") == arm and "text" in e) for arm in (0, 1)]
    assert texts[0] == texts[1]
    [start] = [event for event in found if event["event"] == "start" and event["arm"] == 0]
    assert start["note"] == "CTranslate2 float32, plain sampling: same noise, λ and tint do not act here"
    [end] = [event for event in found if event["event"] == "finished"]
    assert end["same_tokens"] == [{"arms": [0, 1], "share": 1.0}]


def test_an_arm_that_fails_leaves_the_others_alone() -> None:
    """CTranslate2 refuses min-p with its first token: that is no fault of the policy beside it."""
    engine = Engine(device="cpu")
    try:
        settings = Sampling(min_p=0.1, max_new_tokens=6)
        job = engine.submit("hello", ["demo/gpt2#ctranslate2", "demo/gpt2"], settings, samples=2)
        found = list(engine.follow(job))
    finally:
        engine.close()
    [failed] = [event for event in found if event["event"] == "failed"]
    assert failed["arm"] == 0 and "min_p is not for CTranslate2" in failed["message"]
    assert [(event["arm"], event["sample"]) for event in found if event["event"] == "done"] == [(1, 0), (1, 1)]
