"""Families: their facts in one table, records of earlier versions, and names after the architecture."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from architectures import CONFIGS, save_model
from tiny import save_tiny

from dpo.dashboard.choices import tuned
from dpo.dashboard.compare.policies import policies
from dpo.families import CAUSAL, FAMILIES, SEQ2SEQ, architecture_label, facts_of
from dpo.policies.caches import cached, empty_cache
from dpo.policies.families import family_of
from dpo.policies.loading import load_policy
from dpo.policies.names import BUNDLED, resolve
from dpo.publishing.card import Publication, model_card
from dpo.runs import BUNDLED_RUNS, RunRecord, open_run
from dpo.runs.reader import summarise

ROOT = Path(__file__).resolve().parents[2]
# A family asked for by its best known model: as a text, a key of an object, a class or variable of a style sheet.
NAMED = {
    "py": re.compile(r"""["'](t5|gpt2)["']"""),
    "js": re.compile(r"""["'`](t5|gpt2)["'`]|\b(t5|gpt2)\s*:|\.(t5|gpt2)\b"""),
    "css": re.compile(r"""--(t5|gpt2)\b(?!-row)|\.(t5|gpt2)\b"""),
}
# The tables themselves, model types of transformers and names of models, and the one reader of old links.
EXEMPT = {
    "dpo/families.py": 99, "dpo/policies/families.py": 1, "dpo/policies/names.py": 2, "dpo/publishing/card.py": 1,
}  # fmt: skip
OLD_LINKS = re.compile(r"FORMER")


def test_nothing_outside_the_tables_asks_for_a_family_by_the_name_of_a_model() -> None:
    found: dict[str, list[str]] = {}
    paths = [
        ROOT / "app.py",
        *(ROOT / "dpo").rglob("*.py"),
        *(ROOT / "assets").rglob("*.js"),
        *(ROOT / "assets").rglob("*.css"),
    ]
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        if "vendor" in path.parts:
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        hits = [line.strip() for line in lines if NAMED[path.suffix[1:]].search(line) and not OLD_LINKS.search(line)]
        if len(hits) > EXEMPT.get(name, 0):
            found[name] = hits
    assert not found, "ask policy.family.facts (dpo/families.py) instead"


def test_records_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """Families were called after T5 and GPT-2 once."""
    for name, word, facts, label in (
        ("Llama-3-t5-dpo", "t5", SEQ2SEQ, "T5"), ("Llama-3-gpt2-dpo", "gpt2", CAUSAL, "GPT-2"),
    ):  # fmt: skip
        info = json.loads((BUNDLED_RUNS / name / "run.json").read_text(encoding="utf-8"))
        run = open_run(RunRecord.create(tmp_path / name, info | {"family": word}).path)
        assert (run.family, run.info["family"], run.label, run.problem) == (facts.key, facts.key, label, None)
        assert summarise(run)["family"] == facts.key
    # Nothing but the word, as runs had it before models were described; and a word from nowhere.
    bare = open_run(RunRecord.create(tmp_path / "bare", {"kind": "dpo", "family": "gpt2"}).path)
    assert (bare.family, bare.architecture, bare.label) == ("causal", None, "GPT-2")
    other = open_run(RunRecord.create(tmp_path / "other", {"kind": "dpo", "family": "diffusion"}).path)
    assert (other.family, other.label, other.problem) == (None, None, None)


def test_a_run_is_called_after_its_architecture(tmp_path: Path) -> None:
    """A BART is no T5, a Llama no GPT-2: in the record, in pickers, on its card."""
    for name, architecture, label, tag in (
        ("bart", "BartForConditionalGeneration", "BART", "bart"), ("llama", "LlamaForCausalLM", "Llama", "llama"),
    ):  # fmt: skip
        facts = SEQ2SEQ if name == "bart" else CAUSAL
        about = {"kind": "dpo", "family": facts.key, "policy": {"architecture": architecture}, "config": {}}
        run = open_run(RunRecord.create(tmp_path / name, {"name": name, "state": "finished"} | about).path)
        save_model("bart" if name == "bart" else "tinyllama", tmp_path / name / "policy")
        assert (run.label, run.family) == (label, facts.key)
        assert tag in model_card(run, Publication(name, "full", None)).split("---")[1]
    assert {(p.short, p.model, p.family) for p in policies([tmp_path]) if p.value not in BUNDLED} == {
        ("bart", "BART", "seq2seq"), ("llama", "Llama", "causal"),
    }  # fmt: skip
    assert {(choice.label, choice.model) for choice in tuned([tmp_path])} >= {
        ("T5 DPO", "T5"), ("GPT-2 DPO", "GPT-2"), ("bart", "BART"), ("llama", "Llama"),
    }  # fmt: skip
    assert [architecture_label(kind) for kind in ("MT5ForConditionalGeneration", "GPTNeoXForCausalLM", "Mamba")] == [
        "mT5", "GPT-NeoX", "Mamba",
    ]  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_files_and_model_agree_on_the_family(name: str, tmp_path: Path) -> None:
    source = resolve(str(save_model(name, tmp_path / name)))
    policy = load_policy(source.name, device="cpu")
    assert policy.family.key == source.family == family_of(policy.network.config).key
    assert source.architecture == type(policy.network).__name__


def test_the_facts_of_a_family() -> None:
    assert [facts_of(word) for word in ("t5", "seq2seq", "gpt2", "causal", "", None, 3)] == [
        SEQ2SEQ, SEQ2SEQ, CAUSAL, CAUSAL, None, None, None,
    ]  # fmt: skip
    assert set(BUNDLED) == {name for facts in FAMILIES for name in (facts.base, facts.tuned)}
    # A decoder holds prompt and answer in one sequence, an encoder-decoder one on each side.
    assert (SEQ2SEQ.positions(30, 20), CAUSAL.positions(30, 20)) == (30, 50)
    assert (SEQ2SEQ.room(128, 20), CAUSAL.room(128, 20)) == (128, 108)


def test_an_adapter_is_of_its_bases_family_and_architecture(tmp_path: Path) -> None:
    base = save_tiny("t5", tmp_path / "base")
    adapter: dict[str, Any] = {"base_model_name_or_path": str(base), "peft_type": "LORA"}
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(adapter), encoding="utf-8")
    source = resolve(str(tmp_path / "adapter"))
    assert (source.adapter, source.family, source.architecture) == (True, "seq2seq", "T5ForConditionalGeneration")


@pytest.mark.parametrize("name", ["gpt-neo", "flan-t5", "bart"])
def test_models_take_a_cache_by_this_versions_name(name: str, tmp_path: Path) -> None:
    """transformers 5.24 renamed the argument, and warns of the old name."""
    network = load_policy(str(save_model(name, tmp_path / name)), device="cpu").network
    [(argument, _)] = cached(empty_cache(has_encoder=False)).items()
    assert argument in inspect.signature(type(network).forward).parameters


def test_the_pages_scripts_have_the_same_facts() -> None:
    script = (ROOT / "assets" / "js" / "lib" / "families.js").read_text(encoding="utf-8")
    tables = {
        name: dict(re.findall(r"(\w+): \"([^\"]*)\"", body))
        for name, body in re.findall(r"const (\w+) = \{([^}]*)\}", script)
    }
    assert tables["SHAPES"] == {facts.key: facts.symbol for facts in FAMILIES}
    assert tables["FORMER"] == {facts.key: facts.word for facts in FAMILIES}
    assert {key: kind.lower() for key, kind in tables["KINDS"].items()} == {f.key: f.kind.lower() for f in FAMILIES}
