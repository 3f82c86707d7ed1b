"""No fault found, or not enough to say."""

from __future__ import annotations

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Diagnosis, Evidence


def healthy(case: Case) -> Diagnosis:
    """No rule found a fault; the numbers say what was reached."""
    loss = case.held_loss if len(case.held_loss) > 1 else case.train("loss")
    evidence = []
    name = "held-out loss" if loss.held_out else "loss"
    if len(loss):
        evidence += [Evidence(name, loss.first, int(loss.steps[0])), loss.evidence(name)]
    margin, accuracy = case.judged("rewards/margins"), case.judged("rewards/accuracies")
    if len(margin):
        evidence.append(margin.evidence("margin"))
    if len(accuracy):
        count = case.held_out_pairs if accuracy.held_out else None
        evidence.append(accuracy.evidence("accuracy" + (f", n {count}" if count else "")))
    fell = len(loss) > 1 and loss.level < loss.first
    of = f" ({loss.level_of})" if loss.level_of else ""
    text = f"the {name} falls from {loss.first:.3g} to {loss.level:.3g}{of}" if fell else "no rule finds a fault"
    if len(margin) and margin.level > 0:
        text += f" and the margin reaches {margin.level:.2g}"
    return Diagnosis("healthy", "no rule finds a fault", "ok", text[0].upper() + text[1:] + ".", tuple(evidence))


def too_early(case: Case) -> Diagnosis:
    """Too few points to judge."""
    rows, state = case.metrics.rows, case.run.state
    logged = "Nothing was logged" if rows == 0 else f"Only {rows} step{'s were' if rows > 1 else ' was'} logged"
    more = "come back after a few more" if state == "running" else f"the run is {state}, and a rule needs three"
    return Diagnosis("too early", "not enough points", "note", f"{logged}: {more}.")
