"""The doctor on a run whose chosen answers got likelier, and then less likely again."""

from __future__ import annotations

import math
from pathlib import Path

from dpo.runs import RunRecord, open_run
from dpo.runs.doctor import diagnose


def test_chosen_answers_that_turn_down_are_never_called_healthy(tmp_path: Path) -> None:
    """Both rewards fall in the end, though the chosen one is where it began: that is what is said first."""
    record = RunRecord.create(tmp_path / "run", {"kind": "dpo", "family": "gpt2", "config": {"beta": 0.1}})
    for step in range(101):
        chosen, rejected = 0.4 * min(step, 100 - step) / 50, -0.02 * step
        row = {"rewards/chosen": chosen, "rewards/rejected": rejected, "rewards/margins": chosen - rejected}
        row |= {"loss": math.log1p(math.exp(rejected - chosen)), "rewards/accuracies": min(1.0, 0.5 + step / 250)}
        record.log({"step": step} | row | ({f"eval_{k}": v for k, v in row.items()} if step % 25 == 0 else {}))
    first, *others = diagnose(open_run(record.path))
    assert first.code == "likelihood displacement" and first.title == "since step 50 both rewards fall"
    assert first.change is not None and (first.change.flag, first.change.value) == ("--max-steps", "50")
    assert "healthy" not in {verdict.code for verdict in others}
