"""Past the hump: the fitted curve beside another fit, whose judge counts, and what the doctor makes of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import curve_fit

from dpo.evaluation.comparison.frontier import _curve
from dpo.evaluation.comparison.table import Judged
from dpo.evaluation.statistics.frontier import hump
from dpo.runs import RunRecord, open_run
from dpo.runs.doctor import diagnose

DISTANCES = np.array([0.5, 1.0, 2.0, 4.0, 8.0])


def reward(d: Any, a: float, b: float) -> Any:
    return d * (a - b * np.log(d))


def tables(a: float, b: float, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    gains = reward(DISTANCES, a, b)[:, None] + noise * draw.normal(size=(5, 200))
    return gains, DISTANCES[:, None] ** 2 * draw.gamma(4, 1 / 4, size=(5, 50))


def test_the_curve_and_its_top() -> None:
    exact = hump(reward(DISTANCES, 2.0, 1.0)[:, None].repeat(20, 1), (DISTANCES**2)[:, None].repeat(20, 1))
    assert exact is not None and (exact.a, exact.b) == pytest.approx((2, 1))
    # The top by calculus: a - b log d - b = 0.
    assert exact.peak == pytest.approx(np.e) and exact.past == (False, False, False, True, True)
    gains, kls = tables(2.0, 1.0, 3.0)
    made = hump(gains, kls)
    assert made is not None and made.low is not None and made.high is not None
    (a, b), _ = curve_fit(reward, np.sqrt(kls.mean(1)), gains.mean(1))
    assert (made.a, made.b) == pytest.approx((a, b), rel=1e-5) and made.peak == pytest.approx(np.exp(a / b - 1))
    assert made.past[:2] == (False, False) and made.past[-1]
    draws = [hump(*tables(2.0, 1.0, 3.0, seed), resamples=400) for seed in range(200)]
    covered = sum(one is not None and one.low < np.e < one.high for one in draws)  # type: ignore[operator]
    assert 180 <= covered <= 198  # of 200 at 95 %: six standard errors of the check
    rising = hump(*tables(2.0, -0.3, 0.1))
    assert rising is not None and rising.peak is None and not any(rising.past)
    assert hump(gains[:3], kls[:3]) is None and hump(gains, np.ones_like(kls)) is None


def points(gains: np.ndarray, kls: np.ndarray) -> list[Any]:
    return [
        (
            f"run/checkpoint-{n}",
            {f"p{i}": Judged(0.5, (), (), [float(gain), 0.0], Counter()) for i, gain in enumerate(gains[n])},
            {f"p{i}": float(kl) for i, kl in enumerate(kls[n])},
        )
        for n in range(len(gains))
    ]


def test_only_a_judge_from_outside_tells_a_hump() -> None:
    given = points(*tables(2.0, 1.0, 1.0))
    outside = _curve({"kind": "model"}, given)
    assert outside["gain_is"] == "score" and outside["why"] is None and outside["hump"]["peak"] is not None
    assert outside["past"] == ["run/checkpoint-3", "run/checkpoint-4"] and len(outside["points"]) == 5
    assert outside["points"][2]["distance"] == pytest.approx(2.0, rel=0.2)
    for judge in ({"policy": "run/checkpoint-1"}, {"policy": "x", "relations": {"run/checkpoint-1": ["related", ""]}}):
        inside = _curve(judge, given)
        assert inside["hump"] is None and "could not appear" in inside["why"] and len(inside["points"]) == 5
    assert "fewer than 4 policies" in _curve({}, given[:3])["why"]
    voted = [(name, {key: Judged(1.0, (), (), None, Counter()) for key in judged}, kls) for name, judged, kls in given]
    assert _curve({}, voted)["points"][0]["gain"] == 1.0 and _curve({}, voted)["gain_is"] == "wins minus losses"


def test_the_doctor_reads_it_of_the_run_alone(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    for path in (run, other):
        RunRecord.create(path, {"kind": "dpo", "family": "gpt2", "state": "finished", "config": {"beta": 0.1}})
    row = _curve({"kind": "model"}, points(*tables(2.0, 1.0, 1.0))) | {"judge": "reward-model:X"}
    text = json.dumps({"frontier": [row, {"past": 3}, 5]}).replace("run/checkpoint", f"{run}/checkpoint")
    for path in (run, other):
        (path / "evaluations" / "five").mkdir(parents=True)
        (path / "evaluations" / "five" / "eval.json").write_text(text, encoding="utf-8")
    [found] = [one for one in diagnose(open_run(run)) if one.code == "past the hump"]
    assert found.severity == "warning" and "checkpoint-3 is" in found.sentence and "reward-model:X" in found.sentence
    assert found.change is not None and found.change.flag == "--kl-budget"
    assert "past the hump" not in {one.code for one in diagnose(open_run(other))}
    for damaged in ("{", "[]", '{"frontier": {}}', '{"frontier": [{"hump": {"peak": "x"}, "past": ["a"]}]}'):
        (run / "evaluations" / "five" / "eval.json").write_text(damaged, encoding="utf-8")
        assert "past the hump" not in {one.code for one in diagnose(open_run(run))}
