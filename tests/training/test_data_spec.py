"""Whoever reads or scores a run's pairs reads what its training saw: swapped, of several turns, some dropped."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import TEXTS, tiny

from dpo.cli.main import main
from dpo.dashboard.application import create_app
from dpo.dashboard.training.learn import Margins
from dpo.errors import ConfigError, DataError, PromptError
from dpo.evaluation.lens import open_lens
from dpo.evaluation.pairs import run_pairs, score_pairs
from dpo.evaluation.prompts import given_prompt
from dpo.evaluation.tuning import data_of, tuning_of
from dpo.evaluation.worker import LensWorker
from dpo.policies.families import prompt_of
from dpo.policies.loading import save_policy
from dpo.preferences.load import load, load_preferences
from dpo.preferences.normalise import Columns
from dpo.preferences.spec import DataSpec
from dpo.runs import Run
from dpo.training.config import TrainConfig
from dpo.training.pairs import load_pairs
from dpo.training.recipes.dpo import train
from dpo.training.settings import make

FAMILIES = ["t5", "gpt2"]
TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}a:"
SETTINGS = (
    "dataset", "num_samples", "prompt_column", "chosen_column", "rejected_column", "swap", "seed", "eval_fraction",
    "max_eval_pairs",
)  # fmt: skip
LONGEST = 20  # tokens of an answer: pairs with a longer one are dropped


def talks(count: int) -> list[dict[str, Any]]:
    """Pairs of one to three turns under column names of their own; some answers are over `LONGEST` tokens."""
    draw, words = random.Random(3), " ".join(TEXTS[:2]).split()

    def text(most: int) -> str:
        return " ".join(draw.choices(words, k=draw.randint(1, most)))

    rows = []
    for row in range(count):
        turns = [{"role": "user", "content": f"{row} {text(3)}"}]
        for _ in range(row % 3):
            turns += [{"role": "assistant", "content": text(2)}, {"role": "user", "content": text(2)}]
        rows.append({"talk": turns, "worse": text(5), "better": text(5)})
    return rows


@pytest.fixture(scope="module", params=FAMILIES)
def swapped_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on such pairs with the roles of the columns turned round by `--swap`."""
    root = tmp_path_factory.mktemp(request.param)
    policy = tiny(request.param)
    policy.tokenizer.chat_template = TEMPLATE
    save_policy(policy, root / "policy")
    data = root / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in talks(120)), encoding="utf-8")
    settings = {
        "model": str(root / "policy"), "dataset": str(data), "output_dir": str(root / "run"), "num_samples": 100,
        "prompt_column": "talk", "chosen_column": "worse", "rejected_column": "better", "swap": True, "seed": 4,
        "eval_fraction": 0.3, "max_eval_pairs": 16, "overlong": "drop", "max_completion_length": LONGEST,
        "max_prompt_length": 60, "max_steps": 4, "batch_size": 16, "learning_rate": 0.02, "eval_steps": 4,
        "save_steps": 4, "probes": 3, "kl_prompts": 2, "device": "cpu", "precision": "fp32", "beta": 0.3,
    }  # fmt: skip
    return train(make(TrainConfig, settings))


def test_a_runs_data_are_read_as_the_run_read_them(swapped_run: Run) -> None:
    spec = DataSpec.of(swapped_run.config)
    assert spec == data_of(str(swapped_run.path)) == data_of(str(swapped_run.checkpoints[-1][1]))
    assert spec.columns == Columns("talk", "worse", "better", None, True) and spec.max_eval_pairs == 16
    trained = load_pairs(make(TrainConfig, {name: swapped_run.config[name] for name in SETTINGS}))
    assert trained.info["fingerprint"] == swapped_run.info["dataset"]["fingerprint"]
    pairs, _ = run_pairs(str(swapped_run.path))
    assert pairs == list(trained.held_out) and len(pairs) > 16
    better = {row["better"] for row in talks(120)}
    assert all(pair["chosen"] in better for pair in pairs)


def test_scores_are_what_the_run_logged(swapped_run: Run, tmp_path: Path, capsys: Any) -> None:
    """The last evaluation, `dpo score --held-out`, each look of the lens, and the playground's margins."""
    report = tmp_path / "score.json"
    line = ["score", "--policy", str(swapped_run.path), "--held-out", "--device", "cpu", "--json", str(report)]
    assert main(line) == 0
    told = capsys.readouterr().out
    scored, metrics = json.loads(report.read_text()), swapped_run.metrics()
    n = scored["summary"]["n"]
    assert n == swapped_run.info["dataset"]["held_out"] and n + scored["left_out"] == 16 and scored["left_out"] > 0
    assert "pairs were left out" in told and "held-out pairs: --max-eval-pairs has more" in told
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"):
        assert scored["summary"][name] == pytest.approx(metrics.last(f"eval_{name}"), abs=1e-5)
    assert abs(scored["summary"]["rewards/margins"]) > 1e-3
    spoken = next(pair for pair in scored["pairs"] if pair["messages"])
    lens = open_lens(str(swapped_run.path), device="cpu")
    looks = lens.look(spoken["messages"], [spoken["chosen"], spoken["rejected"]])
    assert looks[0].reward - looks[1].reward == pytest.approx(spoken["margin"], abs=1e-5)
    flat = lens.look(spoken["prompt"], [spoken["chosen"], spoken["rejected"]])
    assert abs(flat[0].reward - flat[1].reward - spoken["margin"]) > 1e-4  # the turns are not the text
    texts = ["--text", spoken["chosen"], "--text", spoken["rejected"]]
    line = ["score", "--policy", str(swapped_run.path), "--messages", json.dumps(spoken["messages"]), "--device", "cpu"]
    assert main([*line, *texts]) == 0
    assert f"margin A - B  {spoken['margin']:+.4f}" in capsys.readouterr().out
    worker = LensWorker("cpu")
    try:
        margins = Margins(worker).measure(swapped_run)
    finally:
        worker.close()
    scores = [pair["margin"] for pair in scored["pairs"]]
    assert margins[: len(scores)] == pytest.approx(scores, abs=1e-5) and len(margins) > len(scores)


def test_the_page_is_given_the_same(swapped_run: Run, tmp_path: Path) -> None:
    """Held-out pairs over HTTP, and one of them opened: its turns travel with it."""
    app = create_app([swapped_run.path.parent], votes=tmp_path / "votes.sqlite", data_directory=tmp_path)
    name = str(swapped_run.path)
    try:
        client = app.server.test_client()
        answer = client.post("/api/lens/pairs", json={"policy": name, "source": "run"})
        [result] = [event for kind, event in sent(answer.get_data(as_text=True)) if kind == "result"]
        spoken = next(pair for pair in result["pairs"] if pair["messages"])
        texts = [spoken["chosen"], spoken["rejected"]]
        asked = {"policies": [name], "prompt": spoken["prompt"], "messages": spoken["messages"], "texts": texts}
        looked = client.post("/api/lens/look", json=asked).get_data(as_text=True)
        [look] = [event for kind, event in sent(looked) if kind == "result"]
    finally:
        for service in app.server.config["services"]:
            service.close()
    pairs, _ = run_pairs(name)
    scores, left_out = score_pairs(open_lens(name, device="cpu"), pairs, longest=LONGEST)
    assert [pair["margin"] for pair in result["pairs"]] == pytest.approx([score.margin for score in scores], abs=1e-5)
    assert (result["left_out"], result["available"]) == (left_out, len(pairs)) and left_out > 0
    chosen, rejected = (text["reward"] for text in look["texts"])
    assert chosen - rejected == pytest.approx(spoken["margin"], abs=1e-5)


def sent(stream: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream: kind and data."""
    return [(kind, json.loads(data)) for kind, data in re.findall(r"event: (\w+)\ndata: (.*)\n", stream)]


def test_probes_are_asked_as_training_asks(swapped_run: Run) -> None:
    """The first held-out prompts that fit, by their turns; the step-0 answers are the untrained policy's."""
    from dpo.generation.sampler import generate
    from dpo.generation.settings import PLAIN
    from dpo.policies.loading import load_policy

    policy = load_policy(str(swapped_run.config["model"]), device="cpu")
    pairs, _ = run_pairs(str(swapped_run.path))
    asked = [sample for sample in swapped_run.samples() if sample.step == 0]
    by_text = {pair["prompt"]: pair for pair in pairs}
    assert len(asked) == 3 and any(by_text[sample.prompt]["messages"] for sample in asked)
    sampling = replace(PLAIN, max_new_tokens=128, seed=swapped_run.config["seed"])
    prompts = [prompt_of(policy.tokenizer, by_text[sample.prompt]) for sample in asked]
    answers = [generation.text for generation in generate(policy, prompts, sampling)]
    assert answers == [sample.policy for sample in asked]


def test_a_pair_asks_by_its_turns_only_where_there_is_a_template() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    pair = {"prompt": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:", "messages": turns}
    for family in FAMILIES:
        policy = tiny(family)
        assert prompt_of(policy.tokenizer, pair) == pair["prompt"]
        policy.tokenizer.chat_template = TEMPLATE
        assert prompt_of(policy.tokenizer, pair) == turns
        assert prompt_of(policy.tokenizer, {"prompt": "a", "messages": None}) == "a"


def test_a_spec_of_an_older_record_has_its_defaults() -> None:
    assert DataSpec.of({"dataset": "sample"}) == DataSpec("sample")
    assert DataSpec.of({"dataset": "sample", "eval_fraction": 0}).eval_fraction == 0
    assert DataSpec.of(vars(TrainConfig(dataset="a=2,b=1"))).sources() == {"a": 2.0, "b": 1.0}
    same = load_preferences("sample", num_samples=60, seed=2, eval_fraction=0.2)
    assert load(DataSpec("sample", num_samples=60, seed=2, eval_fraction=0.2)).info == same.info
    assert len(same.evaluated) == len(same.held_out)


@pytest.mark.parametrize(
    "settings", [{}, {"dataset": 3}, {"dataset": "sample", "seed": "0"}, {"dataset": "sample", "eval_fraction": True}]
)
def test_damaged_settings_are_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        DataSpec.of(settings)


@pytest.mark.parametrize("messages", [[], "Hi", [{"role": "user"}], [{"role": "user", "content": " "}], [3]])
def test_messages_that_ask_nothing_are_refused(messages: Any) -> None:
    with pytest.raises(PromptError):
        given_prompt("text", messages)


def test_held_out_needs_a_run_that_held_something_out(capsys: Any) -> None:
    assert main(["score", "--policy", "demo/gpt2", "--reference", "demo/gpt2", "--held-out", "--messages", "x"]) == 2
    assert "give either" in capsys.readouterr().err
    assert main(["score", "--policy", "demo/gpt2-dpo", "--text", "a", "--messages", "{"]) == 2
    assert "--messages is not JSON" in capsys.readouterr().err
    assert tuning_of("demo/gpt2-dpo").drop_over == 240
    with pytest.raises(ConfigError):
        DataSpec("a=0").sources()
