"""Nothing to complain of, or not enough to say."""

from __future__ import annotations

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Evidence, Verdict


def healthy(case: Case) -> Verdict:
    """No rule found a fault; the numbers say what was reached."""
    loss = case.judged("loss")
    if case.run.kind != "dpo":
        chosen = case.held("chosen_loss")
        loss = chosen if len(chosen) > 1 else loss
    evidence = []
    if len(loss):
        evidence += [Evidence("loss", loss.first, int(loss.steps[0])), Evidence("loss", loss.last, loss.last_step)]
    margin, accuracy = case.judged("rewards/margins"), case.judged("rewards/accuracies")
    if len(margin):
        evidence.append(Evidence("margin", margin.last, margin.last_step))
    if len(accuracy):
        count = case.held_out_pairs if accuracy.held_out else None
        evidence.append(Evidence("accuracy" + (f", n {count}" if count else ""), accuracy.last, accuracy.last_step))
    fell = len(loss) > 1 and loss.last < loss.first
    text = f"the loss falls from {loss.first:.3g} to {loss.last:.3g}" if fell else "no rule finds a fault"
    if len(margin) and margin.last > 0:
        text += f" and the margin reaches {margin.last:.2g}"
    return Verdict("healthy", "nothing to complain of", "ok", text[0].upper() + text[1:] + ".", tuple(evidence))


def too_early(case: Case) -> Verdict:
    """Too few points to judge."""
    rows = case.metrics.rows
    logged = "Nothing was logged yet" if rows == 0 else f"Only {rows} step{'s were' if rows > 1 else ' was'} logged"
    return Verdict("too early", "not enough points", "info", f"{logged}: come back after a few more.")
