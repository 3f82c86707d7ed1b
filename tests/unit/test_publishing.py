"""Cards, licences and pictures from records alone: no model is loaded."""

from __future__ import annotations

import doctest
import importlib
import itertools
import math
from pathlib import Path

import pytest
import yaml
from evaluations import stored
from PIL import Image

from dpo.errors import StorageError
from dpo.preferences.audit import Audit, Finding
from dpo.publishing.card import Publication, base_on_the_hub, model_card
from dpo.publishing.curves import _dashes, draw_curves, ticks
from dpo.publishing.directories import whole
from dpo.publishing.licences import combined, sources
from dpo.publishing.push import _public_audit
from dpo.runs import BUNDLED_RUNS, RunRecord, open_run


@pytest.mark.parametrize("module", ["dpo.publishing.card", "dpo.publishing.curves"])
def test_examples_in_docstrings_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize("path", sorted(BUNDLED_RUNS.iterdir()), ids=lambda path: path.name)
def test_every_bundled_run_has_a_card_and_a_picture(path: Path, tmp_path: Path) -> None:
    run = open_run(path)
    card = model_card(run, Publication("Llama-3-tea", "merged", None, "me/Llama-3-tea", "llama3", "curves.png"))
    facts = yaml.safe_load(card.split("---\n")[1])
    assert facts["license"] == "llama3" and run.kind in facts["tags"] and "datasets" not in facts
    assert f"{run.info['dataset']['train']} training and" in card and "None" not in card
    assert draw_curves(run, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1200, 440)


def test_a_run_with_little_has_a_card_and_no_picture(tmp_path: Path) -> None:
    RunRecord.create(tmp_path / "run", {"name": "run", "kind": "dpo", "family": "gpt2", "config": {"model": "gpt2"}})
    run = open_run(tmp_path / "run")
    assert not draw_curves(run, tmp_path / "curves.png") and not (tmp_path / "curves.png").exists()
    card = model_card(run, Publication("run", "full", base_on_the_hub("gpt2")))
    assert "Nothing was held out" in card and "base_model: openai-community/gpt2" in card and "## Samples" not in card


def test_the_last_evaluation_is_in_the_card_without_paths_of_this_machine(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"name": "run", "kind": "dpo", "config": {"model": "gpt2"}})
    assert "Are its answers better?" not in model_card(open_run(record.path), Publication("run", "full"))
    place = record.path / "evaluations" / "pairs"
    policy = str(record.path)
    stored(place, {policy: ["This answer is longer"] * 30, "demo/gpt2": ["Short one."] * 30})
    (record.path / "evaluations" / "broken").mkdir()
    (record.path / "evaluations" / "broken" / "eval.json").write_text("{}")
    card = model_card(open_run(record.path), Publication("run", "full"))
    assert "* run's answers are longer than demo/gpt2's: more often, 100.0 % (88.6 to 100.0) of 30 prompts" in card
    assert "| run against demo/gpt2 | the longer answer | 0.7 | 100.0 % (88.6 to 100.0) | a rule |" in card
    assert "words longer than demo/gpt2" in card and str(tmp_path) not in card


def test_findings_are_in_the_card_and_rows_of_private_data_stay_home(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"name": "run", "kind": "dpo", "config": {"model": "gpt2"}})
    findings = [
        Finding("mispaired", "fault", "Rows 0 to 9 are mispaired", ((0, 9),), 10),
        Finding("secret", "fault", "1 row holds what looks like an access token", ((7, 7),), 1),
        Finding("licence", "note", "The licence is not known"),
    ]
    found = Audit("/home/me/pairs.jsonl", "x", 1.0, 90, 90, tuple(findings), {"sampled_of": 900})
    found.save(record.path / "audit.json")
    card = model_card(open_run(record.path), Publication("run", "full"))
    assert "Of 90 of 900 pairs, before the first update:\n\n* Rows 0 to 9 are mispaired.\n* 1 row holds" in card
    assert "licence is not known" not in card
    public = Audit.from_json(_public_audit(record.path / "audit.json"))
    assert public.source == "pairs.jsonl"
    assert [finding.rows for finding in public.findings] == [((0, 9),), (), ()]
    (record.path / "audit.json").write_text("{}")
    assert "audit" not in model_card(open_run(record.path), Publication("run", "full"))


def test_generated_text_stays_text_in_the_card(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"name": "run", "kind": "dpo", "config": {"model": "gpt2"}})
    record.add_samples(
        [{"step": 3, "index": 0, "prompt": "# Hi", "policy": "<script>x</script>\n---\n```", "reference": ""}]
    )
    card = model_card(open_run(record.path), Publication("run", "full"))
    assert "\n    # Hi\n" in card and "\n    <script>x</script>\n    ---\n    ```\n" in card
    assert "\n    (nothing)" in card


def test_licences_follow_a_run_back_to_its_data(tmp_path: Path) -> None:
    RunRecord.create(
        tmp_path / "sft", {"config": {"model": "gpt2"}, "dataset": {"source": "human-like"}, "kind": "sft"}
    )
    info = {"config": {"model": str(tmp_path / "sft")}, "dataset": {"source": "Anthropic/hh-rlhf"}}
    parts = sources(info)
    assert parts == [
        ("Anthropic/hh-rlhf", "mit"), ("HumanLLMs/Human-Like-DPO-Dataset", "llama3"), ("openai-community/gpt2", "mit")
    ]  # fmt: skip
    assert combined(parts) == "llama3" and combined(parts[::2]) == "mit"
    unknown = sources({"config": {"model": "t5"}, "dataset": {"source": str(tmp_path / "mine.jsonl")}})
    assert unknown == [("mine.jsonl", None), ("google-t5/t5-small", "apache-2.0")] and combined(unknown) is None


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.7), (-8.2, 0.4), (1e-6, 3e-6), (0, 30000), (0.693, 0.6931)])
def test_ticks_are_round_and_within_the_axis(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 6 and all(low - 1e-12 <= value <= high + 1e-12 for value in found)
    assert len({f"{value:g}" for value in found}) == len(found)


def test_dashes_cover_their_share_of_the_line() -> None:
    corners = [(0.0, 0.0), (60.0, 0.0), (60.0, 60.0)]
    drawn = sum(math.dist(a, b) for piece in _dashes(corners) for a, b in itertools.pairwise(piece))
    assert drawn == pytest.approx(120 * 7 / 12, abs=7)


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole(tmp_path / "new") as directory:
        (directory / "half").write_text("x")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with whole(tmp_path / "new") as directory:
        (directory / "all").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    with pytest.raises(StorageError, match="exists already"), whole(tmp_path / "new"):
        pass
    assert (tmp_path / "new" / "all").read_text() == "x"
