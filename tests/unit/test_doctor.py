"""Every regime is named on a series that has it, and no healthy series is called ill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from events import old_gpt2, old_t5

from dpo.cli import main
from dpo.dashboard.run_reader import shown
from dpo.dashboard.training import panels
from dpo.preferences.audit import Audit, Finding
from dpo.runs import BUNDLED_RUNS, RunRecord, open_run
from dpo.runs.doctor import Diagnosis, Thresholds, diagnose
from dpo.training.config import TrainConfig
from dpo.training.settings import make

LN2 = 0.693147
ANSWER = "I like a good walk in the park on a sunny day with my friends and a dog that never stops running"
Rows = list[dict[str, Any]]


def rewards(margin: float, share: float, noise: float, chosen: float | None = None) -> dict[str, float]:
    """Measures of one step: `share` is the part of the margin that the chosen answer gained."""
    up = share * margin + noise if chosen is None else chosen
    down = up - margin
    loss = float(np.log1p(np.exp(-margin)))
    accuracy = float(np.clip(0.5 + 0.25 * margin + 0.3 * noise, 0, 1))
    return {
        "loss": loss, "rewards/chosen": up, "rewards/rejected": down, "rewards/margins": margin,
        "rewards/accuracies": accuracy, "logps/chosen": -100 + 10 * up, "logps/rejected": -90 + 10 * down,
    }  # fmt: skip


def healthy_rows(seed: int = 0, steps: int = 120, peak: float = 1.6) -> Rows:
    """Chosen rises a little, rejected falls, held out follows, with the noise of small batches."""
    draw = np.random.default_rng(seed)
    rows: Rows = []
    for step in range(steps + 1):
        ideal = peak * (1 - np.exp(-step / (steps / 2)))
        noise = 0.0 if step == 0 else float(draw.normal(0, 0.06))
        row = rewards(max(ideal + (draw.normal(0, 0.25) if step else 0), 0.0) if step else 0.0, 0.3, noise)
        row |= {"step": step, "time": step * 0.5, "grad_norm": float(1.2 * np.exp(draw.normal(0, 0.35)))}
        if step == 0:
            row["loss"] = LN2
        if step % 20 == 0:
            row |= {f"eval_{name}": value for name, value in rewards(0.9 * ideal, 0.3, 0.0).items()}
        rows.append(row)
    return rows


def record(directory: Path, rows: Rows, answers: list[dict[str, Any]] | None = None, **info: Any) -> Path:
    about = {"kind": "dpo", "family": "gpt2", "state": "finished", "config": {"beta": 0.1, "learning_rate": 1e-4}}
    made = RunRecord.create(directory, about | info)
    made.log_all(rows)
    made.add_samples(answers or [])
    return directory


def verdicts(directory: Path, limits: Thresholds | None = None) -> dict[str, Diagnosis]:
    return {verdict.code: verdict for verdict in diagnose(open_run(directory), limits)}


def probes(step: int, policy: str, reference: str = ANSWER, count: int = 4) -> list[dict[str, Any]]:
    return [
        {"step": step, "index": i, "prompt": f"p{i}", "policy": policy, "reference": reference} for i in range(count)
    ]


def changed(rows: Rows, after: int, **values: Any) -> Rows:
    """Rows with measures replaced from a step on; a value may be a function of the step."""
    return [
        row | {name: value(row["step"]) if callable(value) else value for name, value in values.items() if name in row}
        if row["step"] >= after
        else row
        for row in rows
    ]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("steps", "peak"), [(40, 0.8), (120, 1.6), (600, 2.2)])
def test_healthy_runs_are_called_healthy(seed: int, steps: int, peak: float, tmp_path: Path) -> None:
    found = verdicts(record(tmp_path / "run", healthy_rows(seed, steps, peak), probes(steps, ANSWER[5:])))
    assert list(found) == ["healthy"], found
    assert found["healthy"].severity == "ok" and found["healthy"].evidence


def test_event_files_of_old_trainers_are_diagnosed_without_a_flag(tmp_path: Path) -> None:
    t5 = verdicts(old_t5(tmp_path))
    assert next(iter(t5)) == "step-0 mismatch" and t5["step-0 mismatch"].severity == "fault"
    assert t5["step-0 mismatch"].evidence[0].value == pytest.approx(8.05)
    assert "dropout" in t5["step-0 mismatch"].sentence
    gpt2 = verdicts(old_gpt2(tmp_path))
    assert "saturation" in gpt2 and "step-0 mismatch" not in gpt2
    assert "From step 20 on" in gpt2["saturation"].sentence


@pytest.mark.parametrize(
    ("first", "at", "ill"),
    [(LN2, 0, False), (0.6935, 1, False), (0.72, 0, True), (0.60, 1, True), (0.55, 10, False), (0.9, 10, True)],
)
def test_step_zero_mismatch(first: float, at: int, ill: bool, tmp_path: Path) -> None:
    rows = [row for row in healthy_rows() if row["step"] >= at]
    rows[0]["loss"] = first
    assert ("step-0 mismatch" in verdicts(record(tmp_path / "run", rows))) is ill


def test_other_losses_may_start_elsewhere(tmp_path: Path) -> None:
    rows = healthy_rows()
    rows[0]["loss"] = 25.0
    config = {"beta": 0.1, "loss_type": ["ipo"]}
    assert "step-0 mismatch" not in verdicts(record(tmp_path / "run", rows, config=config))


def test_no_learning(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    rows = [
        rewards(0.002, 0.5, 0.0) | {"step": s, "loss": LN2 + draw.normal(0, 0.003), "rewards/accuracies": 0.5}
        for s in range(60)
    ]
    found = verdicts(record(tmp_path / "run", rows))
    assert list(found) == ["no learning"]
    change = found["no learning"].change
    assert change is not None and (change.flag, change.value) == ("--learning-rate", "0.0005")


def test_divergence_of_the_loss(tmp_path: Path) -> None:
    rows = changed(healthy_rows(), 70, loss=lambda step: 0.4 + 0.1 * (step - 70))
    found = verdicts(record(tmp_path / "run", rows))
    assert found["divergence"].severity == "fault"
    assert found["divergence"].evidence[0].step is not None and found["divergence"].evidence[0].step <= 75


def test_divergence_into_not_a_number(tmp_path: Path) -> None:
    rows = changed(healthy_rows(), 50, loss=float("nan"), grad_norm=float("inf"))
    found = verdicts(record(tmp_path / "run", rows))
    assert "From step 50 on" in found["divergence"].sentence


def test_saturation(tmp_path: Path) -> None:
    rows = changed(healthy_rows(peak=12), 0, **{"rewards/accuracies": 0.8, "eval_rewards/accuracies": 0.8})
    rows = changed(rows, 40, **{"rewards/accuracies": 1.0, "eval_rewards/accuracies": 1.0})
    found = verdicts(record(tmp_path / "run", rows))
    assert "From step 40 on every held-out pair" in found["saturation"].sentence


@pytest.mark.parametrize(("nats", "severity"), [(2.0, "note"), (20.0, "warning"), (80.0, "fault")])
def test_likelihood_displacement(nats: float, severity: str, tmp_path: Path) -> None:
    rows = []
    for step in range(101):
        chosen = -0.1 * nats * step / 100
        row = rewards(-2 * chosen, 0, 0, chosen) | {"step": step}
        rows.append(row | ({f"eval_{k}": v for k, v in row.items()} if step % 25 == 0 else {}))
    found = verdicts(record(tmp_path / "run", rows))
    assert found["likelihood displacement"].severity == severity
    assert "healthy" not in found
    assert ("The pairs are ranked" in found["likelihood displacement"].sentence) is (severity == "note")


def test_length_exploitation(tmp_path: Path) -> None:
    longer = " ".join(f"{word}{i}" for i in range(3) for word in ANSWER.split())
    found = verdicts(record(tmp_path / "run", healthy_rows(), probes(0, ANSWER) + probes(120, longer)))
    assert list(found) == ["length exploitation"]
    assert found["length exploitation"].evidence[0].value == pytest.approx(3.0)


def test_repetition_collapse(tmp_path: Path) -> None:
    found = verdicts(record(tmp_path / "run", healthy_rows(), probes(0, ANSWER) + probes(120, "and so on " * 7)))
    assert list(found) == ["repetition collapse"] and '"and so on and so' in found["repetition collapse"].sentence


def test_over_optimisation(tmp_path: Path) -> None:
    rows = changed(healthy_rows(), 60, eval_loss=lambda step: 0.4 + 0.004 * (step - 60))
    found = verdicts(record(tmp_path / "run", rows))
    assert list(found) == ["over-optimisation"]
    change = found["over-optimisation"].change
    assert change is not None and (change.flag, change.value) == ("--max-steps", "60")


def test_kl_budget(tmp_path: Path) -> None:
    rows = [row | {"kl": row["step"] / 10} for row in healthy_rows()]
    path = record(tmp_path / "run", rows)
    found = verdicts(path, Thresholds(kl_budget=5))
    assert list(found) == ["KL budget spent"] and "Since step 5" in found["KL budget spent"].sentence
    assert "KL budget spent" not in verdicts(path, Thresholds(kl_budget=50))
    held = [row | ({"eval_kl": row["step"] / 10} if row["step"] % 20 == 0 else {}) for row in healthy_rows()]
    own = record(tmp_path / "own", held, config={"beta": 0.1, "kl_budget": 5.0})
    assert "Since step 60" in verdicts(own)["KL budget spent"].sentence
    assert "KL budget spent" not in verdicts(own, Thresholds(kl_budget=50))


def test_gradient_spikes(tmp_path: Path) -> None:
    rows = changed(healthy_rows(), 80, grad_norm=lambda step: 60.0 if step == 83 else 1.1)
    found = verdicts(record(tmp_path / "run", rows))
    assert list(found) == ["gradient spikes"] and "at step 83" in found["gradient spikes"].sentence


def test_shortcut_known_from_the_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evidence = {"rule": "emoji", "accuracy": 0.97, "pairs": 40}
    finding = Finding("shortcut-emoji", "fault", "x", (), 0, evidence, "--strip-shortcut emoji")
    audit = Audit("pairs.jsonl", "prompt, chosen, rejected", 1.0, 90, 90, (finding,), {})
    rows = changed(healthy_rows(), 60, **{"eval_rewards/accuracies": 0.95, "rewards/accuracies": 0.95})
    path = record(tmp_path / "run", rows)
    assert list(verdicts(path)) == ["healthy"]
    (tmp_path / "a.json").write_text(audit.to_json())
    assert main(["doctor", str(path), "--audit", str(tmp_path / "a.json")]) == 0
    assert "shortcut:" in capsys.readouterr().out
    (path / "audit.json").write_text(audit.to_json())
    found = verdicts(path)
    assert list(found) == ["shortcut"]
    assert found["shortcut"].sentence.startswith("Accuracy 0.95 is what a rule that counts emoji reaches too (0.97)")
    assert "0.97 accuracy of a rule that counts emoji (n = 40)" in str(found["shortcut"].evidence[1])
    assert "--strip-shortcut emoji" in str(found["shortcut"].change)
    assert main(["doctor", str(path), "--audit", str(tmp_path / "none.json")]) == 2


def test_less_than_a_trivial_rule_and_pairs_that_do_not_belong_together(tmp_path: Path) -> None:
    rule = Finding("shortcut-emoji", "fault", "x", (), 0, {"rule": "emoji", "accuracy": 0.97, "pairs": 150}, "")
    block = Finding("mispaired", "fault", "x", ((0, 106),), 107, {"side": "rejected"}, "--repair-mispaired")
    rows = changed(healthy_rows(), 60, **{"eval_rewards/accuracies": 0.77, "rewards/accuracies": 0.77})
    path = record(tmp_path / "run", rows)

    def audited(*findings: Finding, **measures: object) -> dict[str, Diagnosis]:
        audit = Audit("pairs.jsonl", "prompt, chosen, rejected", 1.0, 512, 512, findings, measures)
        (path / "audit.json").write_text(audit.to_json())
        return verdicts(path)

    found = audited(rule)
    assert list(found) == ["below a trivial rule"]
    assert (
        "counts emoji ranks 0.97 of such pairs rightly, the policy only 0.77" in found["below a trivial rule"].sentence
    )
    found = audited(block, mend="dpo data clean pairs.jsonl --output pairs-cleaned.jsonl --repair-mispaired")
    assert list(found) == ["mispaired"]
    assert "at least 107 of 512 audited pairs (21%) the rejected text" in found["mispaired"].sentence
    assert "mended by dpo data clean pairs.jsonl --output pairs-cleaned.jsonl" in str(found["mispaired"].change)
    note = Finding("mispaired-rows", "note", "x", ((0, 6),), 7, {"side": "rejected"}, "")
    assert list(audited(note)) == ["healthy"]


def test_a_rule_that_counts_goes_before_one_of_many_words(tmp_path: Path) -> None:
    def rule(name: str, accuracy: float, remedy: str = "") -> Finding:
        code, evidence = f"shortcut-{name.split()[0]}", {"rule": name, "accuracy": accuracy, "pairs": 300}
        return Finding(code, "fault", "x", (), 0, evidence, remedy)

    rows = changed(healthy_rows(), 60, **{"eval_rewards/accuracies": 1.0, "rewards/accuracies": 1.0})
    path = record(tmp_path / "run", rows)
    for rules, says in (
        ([rule("bag of words", 1.0), rule("emoji", 0.98)], "Accuracy 1.00 is what a rule that counts emoji reaches"),
        ([rule("bag of words", 1.0), rule("length", 0.8)], "what a rule that only looks which words occur reaches too"),
        ([rule("length", 0.8)], "Of the accuracy of 1.00, a rule that compares lengths reaches 0.80 alone"),
    ):
        audit = Audit("pairs.jsonl", "prompt, chosen, rejected", 1.0, 900, 900, tuple(rules), {})
        (path / "audit.json").write_text(audit.to_json())
        assert says in verdicts(path)["shortcut"].sentence


def test_damage_and_clocks_are_told(tmp_path: Path) -> None:
    rows = healthy_rows()
    for row in rows[60:]:
        row["time"] -= 3600
    path = record(tmp_path / "run", rows)
    with (path / "metrics.jsonl").open("a") as file:
        file.write("{broken\n")
    found = verdicts(path)
    assert found["clock went back"].evidence[0].step == 60
    assert "1 damaged line" in found["damaged record"].sentence and "healthy" in found


def test_too_early(tmp_path: Path) -> None:
    assert list(verdicts(record(tmp_path / "none", []))) == ["too early"]
    assert "too early" in verdicts(record(tmp_path / "one", healthy_rows()[:1]))


def test_every_change_is_a_setting_that_dpo_train_takes(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    ruined = [
        rewards(0, 0, 0) | {"step": s, "loss": 3.0 + s, "grad_norm": 90.0 if s == 60 else 1.0 + draw.random() / 10}
        for s in range(90)
    ]
    found = {}
    for name, path in (
        ("a", BUNDLED_RUNS / "Llama-3-t5-dpo-high-rate"),
        ("b", record(tmp_path / "b", ruined)),
        ("c", old_t5(tmp_path)),
        ("d", BUNDLED_RUNS / "Llama-3-gpt2-dpo-displaced"),
    ):
        found |= {f"{name} {code}": verdict for code, verdict in verdicts(path).items()}
    assert len(found) > 8
    for verdict in found.values():
        if verdict.change is not None:
            assert verdict.source is not None and verdict.source.url.startswith("https://")
            name = verdict.change.flag.removeprefix("--").replace("-", "_")
            value: Any = verdict.change.value.split() if name == "loss_type" else verdict.change.value
            make(TrainConfig, {name: float(value) if name in ("learning_rate", "beta", "max_grad_norm") else
                               int(value) if name == "max_steps" else value})  # fmt: skip


def test_the_command_prints_text_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = old_gpt2(tmp_path)
    assert main(["doctor", str(path)]) == 0
    text = capsys.readouterr().out
    assert "saturation:" in text and "change: --max-steps 20" in text and "https://arxiv.org/abs/2310.12036" in text
    assert main(["doctor", str(path / "events.out.tfevents.1.host"), "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["verdicts"][0]["code"] == "saturation"
    assert main(["doctor", str(tmp_path / "nothing")]) == 2
    assert "No run" in capsys.readouterr().err


def test_a_number_at_a_step_was_logged_there_and_a_mean_says_so(tmp_path: Path) -> None:
    """Three rows, as a run of 30 steps logs them: the numbers shown are those of the last row, or called a mean."""
    rows = [
        {
            "step": step,
            "loss": loss,
            "rewards/margins": margin,
            "rewards/chosen": 0.1 + margin / 2,
            "rewards/rejected": 0.1 - margin / 2,
            "rewards/accuracies": accuracy,
            "grad_norm": 1.0,
        }
        for step, loss, margin, accuracy in ((10, 0.646, 0.1, 0.6), (20, 0.4, 0.7, 0.9), (30, 0.256, 1.2, 1.0))
    ]
    (healthy,) = verdicts(record(tmp_path / "few", rows)).values()
    assert "0.434 (mean of the last 3 logged points)" in healthy.sentence
    assert str(healthy.evidence[1]) == "0.434 loss (mean of the last 3 logged points, to step 30)"
    sets = {
        "held": healthy_rows(), "train": [{k: v for k, v in row.items() if "eval" not in k} for row in healthy_rows()],
        "loud": changed(healthy_rows(), 70, loss=lambda step: 0.4 + 0.1 * (step - 70)),
        "sure": changed(healthy_rows(peak=12), 20, loss=0.001, **{"rewards/accuracies": 1.0, "eval_loss": 0.001,
                                                                  "eval_rewards/accuracies": 1.0}),
        "over": changed(healthy_rows(), 60, eval_loss=lambda step: 0.4 + 0.004 * (step - 60)),
        "fell": changed(healthy_rows(), 30, **{"rewards/chosen": -2.0, "rewards/rejected": -4.0}),
        "far": [row | {"kl": row["step"] / 7} for row in healthy_rows()],
    }  # fmt: skip
    for name, logged in sets.items():
        at = {row["step"]: [value for value in row.values() if isinstance(value, float)] for row in logged}
        for verdict in verdicts(record(tmp_path / name, logged)).values():
            for fact in verdict.evidence:
                if fact.step is not None and not fact.of:
                    assert fact.value == pytest.approx(min(at[fact.step], key=lambda v: abs(v - fact.value))), name


def test_after_a_step_zero_mismatch_nothing_is_concluded_from_the_rewards(tmp_path: Path) -> None:
    """The rewards of a T5 whose dropout was on say nothing of tuning: no KL, no beta, and no green tiles."""
    rows = changed(healthy_rows(peak=12), 0, **{"rewards/chosen": 14.9, "eval_rewards/chosen": 14.9})
    rows[0]["loss"] = 8.05
    path = record(tmp_path / "t5", rows)
    assert set(verdicts(path)) == {"step-0 mismatch"}
    assert "KL budget spent" in verdicts(record(tmp_path / "sound", [row | {"loss": LN2} if row["step"] == 0 else row
                                                                     for row in rows]))  # fmt: skip
    run = open_run(path)
    (entry,) = shown([(run, run.metrics())])
    tiles = {label: value(entry) for label, _, value in panels._TILES}
    assert {label: tiles[label][2] for label in ("Step-0 loss", "Loss", "Margin", "Accuracy", "KL to reference")} == {
        "Step-0 loss": "fault", "Loss": None, "Margin": None, "Accuracy": None, "KL to reference": None,
    }  # fmt: skip
    assert tiles["KL to reference"][0] == "–"


@pytest.mark.parametrize(("last", "code"), [(2.968, "held-out loss rises"), (2.9, "healthy")])
def test_supervised_fine_tuning_is_judged_by_its_held_out_loss(last: float, code: str, tmp_path: Path) -> None:
    rows: Rows = [{"step": step, "loss": 3.3 - 0.01 * step} for step in range(11)]
    rows[0]["eval_chosen_loss"], rows[10]["eval_chosen_loss"] = 2.945, last
    assert list(verdicts(record(tmp_path / "run", rows, kind="sft"))) == [code]


def test_a_run_that_is_over_is_not_told_to_go_on(tmp_path: Path) -> None:
    (empty,) = verdicts(record(tmp_path / "run", [])).values()
    assert empty.sentence == "Nothing was logged: the run is finished, and a rule needs three."
