"""Curves for the screen: axes, units, reduction, and the text that stands for components."""

from __future__ import annotations

import json
import math
import os
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from dash import html

from dpo.dashboard.application import create_app
from dpo.dashboard.markup import to_html
from dpo.dashboard.run_reader import MOST_RUNS, RunReader, Shown, shortened
from dpo.dashboard.smoothing import smoothed
from dpo.dashboard.theme import FAMILY_COLOR
from dpo.dashboard.training import series
from dpo.dashboard.training.answers import answer_cards
from dpo.dashboard.training.callbacks import OwnAnswers
from dpo.dashboard.training.charts import CHARTS, LARGE, View, figure
from dpo.dashboard.training.drawing import curves_of, draw
from dpo.dashboard.training.findings import finding
from dpo.dashboard.web.schema import checked
from dpo.errors import ConfigError
from dpo.runs import BUNDLED_RUNS, Metrics, RunRecord, open_run
from dpo.runs.live import OpenRuns

T5 = str(BUNDLED_RUNS / "Llama-3-t5-dpo")


def long_run(points: int = 50_000) -> Metrics:
    """A noisy falling loss with one spike."""
    steps = np.arange(points, dtype=float)
    loss = np.exp(-steps / points) + np.random.default_rng(0).normal(0, 0.01, points)
    loss[points // 3] = 9.0
    return Metrics({"step": steps, "loss": loss, "examples": steps * 8})


def entry(metrics: Metrics) -> Shown:
    return Shown(open_run(T5), "long", "long", 0, metrics)


def test_a_long_curve_is_reduced_and_keeps_its_spike() -> None:
    made = series.reduced(series.curve(entry(long_run()), "loss", "Examples", 0.6))
    assert made.reduced and len(made.x) == len(made.y) == len(made.smooth) <= series.MOST_POINTS
    assert made.y.max() == 9.0 and made.x[0] == 0 and made.x[-1] == 8 * 49_999
    assert (np.diff(made.x) > 0).all()


def test_a_zoom_brings_the_points_in_between() -> None:
    every = series.curve(entry(long_run()), "loss", "Step", 0.6)
    whole, near = series.reduced(every), series.reduced(every, (10_000, 10_100))
    assert ((near.x >= 10_000) & (near.x <= 10_100)).sum() == 101
    assert ((whole.x >= 10_000) & (whole.x <= 10_100)).sum() < 10


@pytest.mark.parametrize("weight", [0.001, 0.3, 0.9, 0.99])
def test_smoothing_in_blocks_is_the_plain_recursion(weight: float) -> None:
    values = np.random.default_rng(0).normal(size=50_000) * 1e3
    expected, total = [], 0.0
    for place, value in enumerate(values.tolist()):
        total = weight * total + (1 - weight) * value
        expected.append(total / (1 - weight ** (place + 1)))
    assert smoothed(values, weight) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert smoothed(values[:5], weight) == pytest.approx(expected[:5])
    assert smoothed(values, 0.0) is values


def test_values_as_large_as_floats_get_are_smoothed_like_others() -> None:
    values = np.array([1.0, 2.0, 0.5, 1.5] * 200)
    with np.errstate(all="raise"):
        assert smoothed(values * 1e300, 0.6) == pytest.approx(smoothed(values, 0.6) * 1e300, rel=1e-12)
    assert np.isinf(smoothed(np.array([1.0, np.inf, 1e300]), 0.6)[1:]).all()


def test_axes_are_interpolated_start_at_zero_and_never_go_back() -> None:
    metrics = Metrics.of_rows(
        [{"step": 0, "loss": 1, "time": 5.0}, {"step": 10, "loss": 1, "tokens": 100, "time": 9.0},
         {"step": 20, "loss": 1, "tokens": 300, "time": 2.0}]
    )  # fmt: skip
    at = np.array([0.0, 5.0, 15.0, 20.0])
    assert series.across(metrics, "Tokens", at).tolist() == [0, 50, 200, 300]
    assert series.across(metrics, "Time", at).tolist() == [5, 7, 9, 9]
    assert len(series.across(metrics, "Epoch", at)) == 0


def test_units_of_rewards() -> None:
    run = open_run(T5)
    one = Shown(run, "t5", "t5", 0, run.metrics())
    assert series.scale_of(one, "÷ β") == pytest.approx(10)
    per_token = series.scale_of(one, "Per token")
    rows = [json.loads(line) for line in (Path(T5) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert per_token == pytest.approx(2 * rows[-1]["examples"] / rows[-1]["tokens"])
    unknown = Shown(type(run)(run.path, {}), "x", "x", 0, long_run())
    assert series.scale_of(unknown, "÷ β") is None and series.scale_of(unknown, "Per token") is None


def test_every_chart_of_a_bundled_run_is_drawn() -> None:
    run = open_run(T5)
    one = Shown(run, "t5", "t5", 0, run.metrics())
    for chart in CHARTS:
        first, second = curves_of([one], chart, "Step", 0.6, "Reward")
        made = figure(chart, first, second, View())
        assert all(len(trace["x"]) == len(trace["y"]) for trace in made["data"])
        assert made["layout"]["shapes"][0]["name"] == "cursor"


def test_squeezing_is_drawn_where_it_is_recorded(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"kind": "dpo", "family": "gpt2", "state": "finished"})
    for step in range(5):
        record.log({"step": step, "loss": 0.69})
    asked = {"runs": [str(tmp_path / "run")], "charts": {"squeezing": None}}
    assert draw(asked, RunReader([tmp_path]))["charts"][0]["hidden"]
    for step in range(5, 10):
        record.log({"step": step, "eval_squeeze/argmax_mass": 0.3 + 0.05 * (step - 5)})
    [chart] = draw(asked, RunReader([tmp_path]))["charts"]
    [held_out] = [trace for trace in chart["figure"]["data"] if len(trace["x"])]
    assert list(held_out["y"]) == pytest.approx([0.3, 0.35, 0.4, 0.45, 0.5]) and held_out["line"]["dash"] == "5px,4px"
    assert chart["finding"] == "Rises: other words lose" and "50%" in chart["note"]


def test_only_charts_that_changed_are_sent(tmp_path: Path) -> None:
    info = {"kind": "dpo", "family": "gpt2", "state": "running", "pid": os.getpid(), "host": socket.gethostname()}
    record = RunRecord.create(tmp_path / "run", info)
    record.log({"step": 0, "loss": 0.69})
    asked: dict[str, Any] = {"runs": [str(tmp_path / "run")], "axis": "Step", "charts": {"loss": None, "grad": None}}
    reader = RunReader([tmp_path])
    first = {chart["key"]: chart for chart in draw(asked, reader)["charts"]}
    assert not first["loss"]["hidden"] and first["grad"]["hidden"]
    asked["charts"] = {key: chart["revision"] for key, chart in first.items()}
    assert draw(asked, reader)["charts"] == []
    record.log({"step": 1, "loss": 0.6})
    assert [chart["key"] for chart in draw(asked, reader)["charts"]] == ["loss"]


def test_the_route_shows_runs_of_its_directories_only(tmp_path: Path) -> None:
    client = create_app([tmp_path]).server.test_client()
    body = {"runs": [T5, str(tmp_path / ".." / "x")], "summary": True, "charts": {"loss": None}}
    answer = client.post("/api/curves", json=body, headers={"Host": "127.0.0.1:8050"}).get_json()
    assert answer["charts"][0]["figure"]["data"] == []
    assert "in none of the directories shown here" in answer["summary"]["kpis"]


@pytest.mark.parametrize(
    "body",
    [{}, {"charts": 3}, {"runs": "x", "charts": {"loss": None}}, {"span": ["a", 1], "charts": {"loss": 1}},
     {"axis": "Moon", "unit": 5, "smoothing": "x", "cursor": [], "log": "yes", "charts": {"loss": None, "none": 1}}],
)  # fmt: skip
def test_nonsense_is_not_an_error(body: dict[str, Any]) -> None:
    client = create_app([BUNDLED_RUNS]).server.test_client()
    assert client.post("/api/curves", json=body, headers={"Host": "127.0.0.1:8050"}).status_code == 200


def test_labels_lose_what_all_of_them_share() -> None:
    assert shortened(["Llama-3-t5-dpo", "Llama-3-gpt2-dpo"]) == ["t5-dpo", "gpt2-dpo"]
    assert shortened(["one"]) == ["one"]
    assert len(shortened(["x" * 60])[0]) <= 18


def test_all_charts_share_one_reader(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path, {"state": "running", "pid": os.getpid(), "host": socket.gethostname()})
    record.log({"step": 0, "loss": 1.0})
    runs = OpenRuns()
    first = runs.get(str(tmp_path))
    metrics = first.metrics()
    assert runs.get(str(tmp_path)) is first and first.metrics() is metrics
    record.update(progress={"step": 1})
    again = runs.get(str(tmp_path))
    assert again.progress == {"step": 1} and again.metrics() is metrics


def test_components_as_text_are_escaped() -> None:
    node = html.Div([html.B("<x>", className="a"), None, "&", html.Span(style={"fontSize": 3}, **{"data-k": 'q"'})])
    assert to_html(node) == (
        '<div><b class="a">&lt;x&gt;</b>&amp;<span style="font-size:3px" data-k="q&quot;"></span></div>'
    )
    assert to_html(html.Details(open=True)) == "<details open></details>"
    assert to_html(html.Details(open=False)) == "<details></details>"


def test_what_is_measured_now_and_then_is_never_smoothed() -> None:
    rows = [{"step": s, "loss": 1.0 / (s + 1), "probe/kl": float(s), "eval_kl": float(s * s)} for s in (0, 10, 20)]
    one = entry(Metrics.of_rows(rows))
    loss, probes = (series.curve(one, key, "Step", 0.6) for key in ("loss", "probe/kl"))
    assert loss.has_smoothed and not probes.has_smoothed and probes.smooth.tolist() == [0, 10, 20]
    assert series.curve(one, "kl", "Step", 0.6).eval_y.tolist() == [0, 100, 400]


def test_no_two_runs_on_screen_look_the_same(tmp_path: Path) -> None:
    """Six of a family, whatever was looked at before: each has a colour of its own, and a dash means held out."""
    made = [RunRecord.create(tmp_path / f"run{i}", {"kind": "dpo", "family": "t5"}) for i in range(MOST_RUNS + 2)]
    for record in made:
        record.log_all([{"step": step, "loss": 1 / (1 + step)} for step in range(4)])
    paths = [str(record.path) for record in made]
    for chosen in (paths[:MOST_RUNS], paths[2:], paths[-1:]):
        asked = {"runs": chosen, "charts": {"loss": None}}
        [chart] = draw(asked, RunReader([tmp_path]))["charts"]
        lines = [trace["line"] for trace in chart["figure"]["data"] if "line" in trace]
        colors = [line["color"] for line in lines]
        assert colors[0] == FAMILY_COLOR["seq2seq"] and len(set(colors)) == len(colors) == len(chosen)
        assert not any("dash" in line for line in lines)


def test_log_y_is_for_measures_that_are_never_negative(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"kind": "dpo", "family": "seq2seq", "state": "finished"})
    for step in range(5):
        record.log({"step": step, "loss": 0.7, "rewards/chosen": -0.1 * step, "kl": 0.2, "learning_rate": 1e-4 * step})
    asked = {"runs": [str(record.path)], "log": True, "charts": dict.fromkeys(("loss", "chosen", "kl", "lr"))}
    charts = {chart["key"]: chart for chart in draw(asked, RunReader([tmp_path]))["charts"] if not chart["hidden"]}
    kinds = {key: chart["figure"]["layout"]["yaxis"]["type"] for key, chart in charts.items()}
    assert kinds == {"loss": "log", "chosen": "linear", "kl": "linear", "lr": "log"}
    assert "zeros left out" in charts["lr"]["note"]  # the warm-up begins at 0
    rate = charts["lr"]["figure"]["layout"]["yaxis"]
    assert (rate["tickformat"], rate["exponentformat"]) == ("", "e")  # 2e-5, and 0 as 0


def test_the_large_charts_come_first() -> None:
    assert CHARTS[: len(LARGE)] == LARGE


def test_a_saved_checkpoint_leads_to_compare(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"state": "finished", "family": "t5", "config": {"model": "demo/t5"}})
    for step in (5, 9):
        record.add_samples([{"step": step, "index": 0, "prompt": "Tea?", "policy": f"at {step}"}])
    saved = tmp_path / "run" / "checkpoint-5"
    saved.mkdir()
    (saved / "trainer_state.json").write_text("{}")
    run = open_run(tmp_path / "run")
    one = Shown(run, "run", "run", 0, run.metrics())
    link = re.search(r'href="([^"]*)"', to_html(answer_cards([one], 5, "Tea?")))
    assert link is not None
    query = parse_qs(urlsplit(link[1].replace("&amp;", "&")).query)
    assert query == {"prompt": ["Tea?"], "policy": ["demo/t5", str(saved)]}
    later = to_html(answer_cards([one], 9, "Tea?"))  # its policy was not saved
    assert "href" not in later and '<span class="new">9</span>' in later


def test_ln_2_is_drawn_where_a_loss_starts_there() -> None:
    """The bundled T5 has a second loss beside DPO's and starts at 1.8; the broken run has DPO's alone."""

    def notes(run: str) -> str:
        asked = {"runs": [run], "charts": {"loss": None}}
        [chart] = [chart for chart in draw(asked, RunReader([BUNDLED_RUNS]))["charts"] if chart["key"] == "loss"]
        return str(chart["figure"]["layout"]["annotations"])

    assert "ln 2" not in notes(T5)
    assert "ln 2" in notes(f"{T5}-high-rate")


def told(key: str, **lines: np.ndarray) -> str:
    """The finding of a chart with these lines, logged at every second step."""
    empty = np.empty(0)
    curves = [
        (name, series.Curve(name, "t5", 0, 2.0 * np.arange(len(y)), y, y, empty, empty)) for name, y in lines.items()
    ]
    return finding(key, curves, "Step", math.log(2) if key == "loss" else None)


def test_the_finding_says_how_curves_go() -> None:
    steps = np.arange(101)
    noise = np.random.default_rng(0).normal(0, 0.05, 101)
    falls, rises, turns = 1 - steps / 100, steps / 100, np.minimum(steps, 160 - 2 * steps) / 50
    assert told("loss", a=falls) == "Falls, below ln 2 from step 62"
    assert told("grad", a=noise) == "Stays level"
    assert told("chosen", a=noise + 8 * turns) == "Turns down after step 104: chosen answers get less likely"
    assert told("chosen", a=-rises) == "Falls: chosen answers get less likely"
    assert told("rejected", a=falls, b=falls) == "Both fall"
    assert re.fullmatch(r"a falls; b turns down after step \d+", told("margin", a=falls, b=turns))
    assert told("loss", a=falls[:2]) == ""


def test_answers_to_a_prompt_of_ones_own_pass_the_check_of_callbacks() -> None:
    """As a browser sends them: JSON knows no tuples."""
    seen = checked(show)(json.loads('{"prompt": "Tea?", "answers": {"Tea?": {"/runs/a": [[0, "No."], [8, "Yes."]]}}}'))
    assert seen == 2
    with pytest.raises(ConfigError, match="own.answers"):
        checked(show)({"prompt": None, "answers": {"Tea?": {"/runs/a": [["No.", 0]]}}})


def show(own: OwnAnswers) -> int:
    return len(own["answers"]["Tea?"]["/runs/a"])
