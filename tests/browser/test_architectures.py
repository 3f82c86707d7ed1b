"""Runs are called after their models' architecture: a BART is no T5, a Llama no GPT-2."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from architectures import save_model
from playwright.sync_api import expect

from dpo.runs import RunRecord


def write(root: Path, name: str, model: str, family: str, architecture: str) -> Path:
    """A finished DPO run of ten steps with a policy that has random weights."""
    about = {"kind": "dpo", "family": family, "policy": {"architecture": architecture}, "config": {"beta": 0.1}}
    record = RunRecord.create(root / name, {"name": name, "state": "finished"} | about)
    record.log_all([{"step": step, "loss": 0.69 - step / 100, "rewards/margins": step / 10} for step in range(10)])
    save_model(model, root / name / "policy")
    return root / name


def test_pages_name_the_architecture_of_a_run(tmp_path: Path, serve: Any, open_page: Any) -> None:
    bart = write(tmp_path, "one", "bart", "seq2seq", "BartForConditionalGeneration")
    llama = write(tmp_path, "two", "tinyllama", "causal", "LlamaForCausalLM")
    address = serve([tmp_path])
    policies = [("policy", ""), ("policy", str(bart)), ("policy", ""), ("policy", str(llama))]
    page = open_page(f"{address}/?{urlencode([('prompt', 'Hi'), *policies])}")
    expect(page.locator("#cmp-row-title-0")).to_have_text("BART")
    expect(page.locator("#cmp-row-kind-0")).to_have_text("encoder–decoder")
    expect(page.locator("#cmp-row-title-1")).to_have_text("Llama")
    expect(page.locator(".sees")).to_contain_text("BART sees")
    expect(page.locator(".strength")).to_contain_text("Llama strength λ")
    page = open_page(f"{address}/training?{urlencode([('run', str(bart)), ('run', str(llama))])}")
    expect(page.locator("#tr-note-loss")).to_contain_text("BART 0.6")
    expect(page.locator("#tr-note-loss")).to_contain_text("Llama 0.6")
    expect(page.locator(".picker-head").first).to_contain_text("Encoder–decoder")
