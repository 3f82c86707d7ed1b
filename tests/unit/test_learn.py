"""The words and the losses: one definition each."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dpo
from dpo import losses
from dpo.dashboard.application import create_app
from dpo.dashboard.training.charts import CHARTS
from dpo.dashboard.training.page import _WORDS
from dpo.dashboard.web.access import Access
from dpo.errors import ConfigError
from dpo.glossary import TERMS, define, page

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_of_the_documentation_is_the_glossary() -> None:
    assert (DOCS / "glossary.md").read_text(encoding="utf-8") == page()


def test_every_chart_has_its_word() -> None:
    for chart in CHARTS:
        assert define(_WORDS.get(chart.key, chart.key))
    assert all(re.search(r"[.)]$", term.definition) for term in TERMS.values())


def test_every_loss_of_the_margin_is_drawn() -> None:
    assert set(losses.margin_losses()) == set(losses.LOSSES) - {"sft"}
    with pytest.raises(ConfigError, match="no loss of the margin"):
        losses.curve(losses.LOSSES["sft"], np.zeros(1), losses.Options())


def test_the_page_of_losses_is_the_table() -> None:
    assert (DOCS / "losses.md").read_text(encoding="utf-8") == losses.page()


def test_losses_are_named_in_their_table_alone() -> None:
    """One more needs no other file; `sft` is a kind of run too, `sigmoid` the default, and a rule may advise one."""
    home = Path(dpo.__file__).parent
    named = set(losses.LOSSES) - {"sft", "sigmoid"}
    for path in home.rglob("*.py"):
        if path != home / "losses.py" and "rules" not in path.parts:
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            assert not named & {node.value for node in nodes if isinstance(node, ast.Constant)}, path


ONE_MORE = """
import numpy
from dpo import losses

def exponential(pairs, options):
    "exp(-margin)."
    return numpy.exp(-losses.margin_of(pairs, options))

losses.LOSSES["exponential"] = losses.Loss(exponential, "nobody", "never satisfied")

import sys
from dpo.dashboard.training.learn import draw, panel
from dpo.training.config import TrainConfig
from dpo.training.settings import make

assert make(TrainConfig, {"loss_type": ["exponential"]}).loss_type == ["exponential"]
assert "data-loss='exponential'" in str(panel())
assert draw({"losses": ["exponential"]}, None, None)["figure"]["data"][-1]["name"] == "exponential"
assert "| `exponential` | exp(-margin) | never satisfied | 1 |" in losses.page()
assert not losses.starts_at_ln2(["exponential"]) and "torch" not in sys.modules
"""


def test_one_more_loss_needs_no_other_file() -> None:
    done = subprocess.run([sys.executable, "-c", ONE_MORE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", losses.margin_losses())
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_are_trls(name: str, smoothing: float) -> None:
    """TRL's own `_compute_loss`, on log-probabilities that give the margins."""
    import torch
    from accelerate import Accelerator
    from trl import DPOTrainer

    if name == "exo_pair" and not smoothing:
        pytest.skip("infinite without smoothing, which the settings refuse")
    beta, length = 0.2, 5
    for margin in (-3.0, -0.4, 0.0, 0.7, 5.0):
        half = margin / 2 / beta
        logps = torch.zeros(2, length, dtype=torch.float64)
        logps[0, 0], logps[1, 0] = half, -half
        trainer = _bare(DPOTrainer, name, beta, smoothing, Accelerator(cpu=True))
        output = _Output(log_probs=logps, entropy=torch.zeros(2, length), mean_logits=torch.zeros(2, length),
                         is_top1=torch.zeros(2, length, dtype=torch.bool))  # fmt: skip
        mask = torch.cat([torch.zeros(2, 1), torch.ones(2, length)], 1).long()
        inputs = {
            "input_ids": mask, "attention_mask": torch.ones_like(mask), "completion_mask": mask,
            "ref_chosen_logps": torch.zeros(1), "ref_rejected_logps": torch.zeros(1),
        }  # fmt: skip
        loss = DPOTrainer._compute_loss(trainer, lambda out=output, **_: out, inputs, False)
        options = losses.Options(beta=beta, label_smoothing=smoothing)
        drawn = losses.curve(losses.LOSSES[name], np.array([margin]), options, tokens=length)
        assert drawn[0] == pytest.approx(float(loss), abs=2e-6, rel=1e-5)


class _Output:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def _bare(kind: Any, name: str, beta: float, smoothing: float, accelerator: Any) -> Any:
    """A trainer with nothing but what the loss reads."""
    from collections import defaultdict

    trainer = object.__new__(kind)
    trainer.__dict__.update(
        accelerator=accelerator, aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True, beta=beta,
        f_divergence_type="reverse_kl", loss_types=[name], loss_weights=[1.0], label_smoothing=smoothing,
        use_weighting=False, args=_Output(discopop_tau=0.05),
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        model=_Output(training=False), _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    return trainer


def test_training_is_off_beyond_this_machine(tmp_path: Path) -> None:
    closed = create_app([tmp_path], Access("0.0.0.0"), votes=tmp_path / "v.sqlite").server.test_client()
    assert closed.get("/api/jobs").get_json()["allowed"] is False
    for path in ("/api/jobs", "/api/jobs/check", "/api/jobs/stop", "/api/jobs/resume", "/api/jobs/forget"):
        answer = closed.post(path, json={"settings": {}, "job": "x", "run": "x"})
        assert answer.status_code == 403 and "--allow-training" in answer.get_json()["error"]
    assert closed.get("/api/jobs/form").status_code == closed.get("/api/jobs/x/log").status_code == 403
    trusting = Access("0.0.0.0", training=True)
    opened = create_app([tmp_path], trusting, votes=tmp_path / "v.sqlite").server.test_client()
    assert opened.get("/api/jobs").get_json()["allowed"] is True
    local = create_app([tmp_path], votes=tmp_path / "v.sqlite").server.test_client()
    assert local.get("/api/jobs", headers={"Host": "127.0.0.1"}).get_json()["allowed"] is True
    assert local.get("/api/jobs", headers={"Host": "evil.example"}).status_code == 403


def test_requests_name_settings_and_runs_that_may_be_named(tmp_path: Path) -> None:
    client = create_app([tmp_path / "runs"], votes=tmp_path / "v.sqlite").server.test_client()

    def post(path: str, body: Any) -> tuple[int, str]:
        answer = client.post(path, json=body, headers={"Host": "127.0.0.1"})
        return answer.status_code, answer.get_json().get("error", "")

    assert post("/api/jobs", {"settings": {"output_dir": "/tmp/x"}})[1].startswith("output_dir is not taken here")
    assert "no setting is called" in post("/api/jobs", {"settings": {"betta": 1}})[1]
    assert post("/api/jobs", {"settings": 3})[0] == post("/api/jobs", [1])[0] == 400
    assert "in none of the directories" in post("/api/jobs/resume", {"run": str(tmp_path)})[1]
    assert "cannot be resumed" in post("/api/jobs/resume", {"run": str(tmp_path / "runs" / "x")})[1]
    assert "in none of the directories" in post("/api/losses", {"run": str(tmp_path)})[1]
    assert "no loss of the margin" in post("/api/losses", {"losses": ["sft"]})[1]
    assert not (tmp_path / "runs" / ".jobs").exists()
    form = client.get("/api/jobs/form", headers={"Host": "127.0.0.1"}).get_json()
    names = {field["name"] for field in form["fields"]}
    assert {"model", "beta", "lora_targets", "seed"} <= names and not {"output_dir", "resume"} & names
    assert all(set(preset["settings"]) <= names for preset in form["presets"]) and len(form["presets"]) > 4
