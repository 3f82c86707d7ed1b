"""Notes, names and deleting: what is allowed, and that nothing outside the roots is touched."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from dpo.dashboard.run_reader import RunReader, Shown
from dpo.dashboard.runs_page.figures import frontier, importance, parallel
from dpo.dashboard.runs_page.report import report
from dpo.dashboard.runs_page.table import columns_of, differing, filtered, rows_of
from dpo.dashboard.training.charts import CHARTS, View, figure
from dpo.dashboard.training.drawing import curves_of
from dpo.dashboard.training.panels import is_share_of
from dpo.errors import ConfigError, RunError
from dpo.evaluation.votes import Vote
from dpo.runs import BUNDLED_RUNS, RunRecord, find_runs, open_run
from dpo.runs.manage import annotate, comes_with_dpo, listed, note_of, rename
from dpo.runs.trash import discard


def write(path: Path, **facts: Any) -> Path:
    RunRecord.create(path, {"name": path.name, "state": "finished"} | facts)
    return path


def test_a_name_and_a_note_stay_with_the_run(tmp_path: Path) -> None:
    run = open_run(write(tmp_path / "a"))
    rename(run, "  the  best ")
    annotate(run, "warm-up was too short\n")
    again = open_run(tmp_path / "a")
    assert (again.name, note_of(again)) == ("the best", "warm-up was too short")
    annotate(run, " ")
    assert note_of(run) == ""
    with pytest.raises(RunError, match="1 to 80 letters"):
        rename(run, " ")


def test_what_is_not_ours_is_not_changed(tmp_path: Path) -> None:
    bundled = find_runs([BUNDLED_RUNS])[0]
    for change in (
        lambda: rename(bundled, "x"),
        lambda: annotate(bundled, "x"),
        lambda: discard(bundled, [BUNDLED_RUNS]),
    ):
        with pytest.raises(RunError, match="comes with dpo"):
            change()
    mine = find_runs([write(tmp_path / "mine").parent])
    assert [comes_with_dpo(run) for run in (bundled, *mine)] == [True, False]  # nor does a page offer it
    live = open_run(write(tmp_path / "live", state="running", pid=os.getpid(), host=socket.gethostname()))
    with pytest.raises(RunError, match="is running"):
        rename(live, "x")
    with pytest.raises(RunError, match="is running"):
        discard(live, [tmp_path])


def test_only_runs_inside_the_roots_are_deleted(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", write(tmp_path / "outside")
    inside = write(root / "inside")
    (root / "link").symlink_to(outside)
    with pytest.raises(RunError, match="no run in"):
        listed(str(outside), [root])
    with pytest.raises(RunError, match="no run in"):
        listed(str(root / ".." / "outside"), [root])
    with pytest.raises(RunError, match="is a link"):
        discard(open_run(root / "link"), [root])
    with pytest.raises(RunError, match="is not inside"):
        discard(open_run(outside), [root])
    with pytest.raises(RunError, match="is not inside"):
        discard(open_run(inside), [inside])  # a root itself stays
    write(inside / "nested")
    with pytest.raises(RunError, match="holds other runs"):
        discard(open_run(inside), [root])
    discard(open_run(inside / "nested"), [root])
    discard(open_run(inside), [root])
    assert outside.is_dir() and not inside.exists()


def rows(count: int = 8) -> list[dict[str, Any]]:
    """Runs in which accuracy follows beta alone."""
    made = []
    for number in range(count):
        beta, rate = (0.1, 0.5)[number % 2], (1e-5, 1e-3)[number // 2 % 2]
        points = [{"step": 10 * s, "kl": 0.5 * s * (number + 1), "margin": 0.1 * s, "accuracy": 0.5} for s in (1, 2)]
        made.append({
            "path": f"/r/{number}", "name": f"run-{number}", "family": "seq2seq", "kind": "dpo", "state": "done",
            "set/beta": beta, "set/learning_rate": rate, "set/model": "t5", "note": "", "accuracy": 0.6 + beta / 2,
            "loss": 0.5, "margin": 0.2, "kl": points[-1]["kl"], "energy": None, "points": points,
        })  # fmt: skip
    return made


def test_switches_and_lists_are_words_in_the_table(tmp_path: Path) -> None:
    for name, lora in (("a", True), ("b", False)):
        write(tmp_path / name, config={"lora": lora, "loss_type": ["sigmoid", "sft"], "beta": 0.1})
    made = rows_of(RunReader([tmp_path]))
    assert {row["set/lora"] for row in made} == {"yes", "no"}
    assert {row["set/loss_type"] for row in made} == {"sigmoid sft"}
    (column,) = [column for column in columns_of(made) if column["field"] == "set/lora"]
    assert "valueFormatter" not in column
    assert [row["name"] for row in filtered(made, "lora = yes")] == ["a"]


def test_an_accuracy_that_no_share_of_the_pairs_is_names_no_number_of_them() -> None:
    assert is_share_of(35 / 40, 40) and is_share_of(35.5 / 40, 40)  # a tie counts half
    assert not is_share_of(57 / 64, 40) and not is_share_of(0.5, 0)  # a mean of batch means


def test_settings_that_differ_and_filters() -> None:
    assert differing(rows()) == (["beta", "learning_rate"], ["model"])
    assert len(filtered(rows(), "β < 0.3 and kl <= 5")) == 3
    assert len(filtered(rows(), "accuracy > 80%")) == 4
    assert [row["name"] for row in filtered(rows(), "run-3")] == ["run-3"]
    assert len(filtered(rows(), "model = T5 & lr > 1e-4")) == 4
    for text in ("colour > 3", "beta > much", "model < 3"):
        with pytest.raises(ConfigError):
            filtered(rows(), text)


def test_importance_finds_the_setting_that_decides() -> None:
    shares, said = importance(rows(), "accuracy")
    assert shares[0][0] == "beta" and shares[0][1] > 0.95
    assert sum(share for _, share in shares) == pytest.approx(1)
    assert "8 runs" in said
    assert importance(rows(3), "accuracy")[0] == []
    assert importance(rows(), "loss")[0] == []


def test_the_frontier_joins_what_nothing_beats_and_names_what_is_off() -> None:
    given = rows(4)
    given[3]["points"] = [{"step": 5, "kl": 90.0, "margin": 3.0}]
    figure, said = frontier(given)
    best = figure["data"][0]
    # The first run is better at every distance than all after it.
    assert list(zip(best["x"], best["y"], strict=True)) == [(0.5, 0.1), (1.0, 0.2)]
    assert "Not drawn: run-3, KL 90" in said
    assert figure["layout"]["xaxis"]["range"][1] < 90
    figure, said = frontier([*given, given[0] | {"name": "bare", "kind": "dpo", "points": []}])
    assert said.endswith("Without KL: bare.")
    figure, said = frontier([row | {"points": []} for row in given])
    assert figure["data"] == [] and "--kl-prompts" in said
    assert figure["layout"]["annotations"][0]["text"] == "No run here has measured the KL of its own answers"
    assert "estimate on the chosen answers" in said
    assert "1 run, 2 checkpoints" in frontier(given[:1])[1]


def test_a_name_makes_no_link_in_a_chart(tmp_path: Path) -> None:
    """Plotly reads `<a href>` in labels; a name is shown as it is."""
    link = '<a href="http://elsewhere">run</a>'
    given = [row | {"name": link, "set/dataset": f"{link}-{place}"} for place, row in enumerate(rows(3))]
    for made in (frontier(given)[0], parallel(given)[0]):
        for trace in made["data"]:
            texts = trace.get("text") or []
            assert not any("<a" in text for text in [*texts, trace.get("hovertemplate", "")])
        assert not any("<a" in note["text"] for note in made["layout"].get("annotations", ()))
    record = RunRecord.create(tmp_path / "run", {"name": link, "kind": "dpo", "family": "t5", "state": "finished"})
    for step in range(3):
        record.log({"step": step, "loss": 1.0 - step / 10})
    run = open_run(tmp_path / "run")
    shown = Shown(run, link, link, 0, run.metrics())
    loss = next(chart for chart in CHARTS if chart.key == "loss")
    first, second = curves_of([shown], loss, "Step", 0.6, "Reward")
    made = figure(loss, first, second, View(several=True))
    texts = [note["text"] for note in made["layout"]["annotations"]]
    texts += [text for trace in made["data"] for text in trace.get("text", ())]
    assert any("&lt;a" in text for text in texts) and not any("<a" in text for text in texts)


def test_a_report_shows_held_out_measures_as_they_were_measured(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"kind": "dpo", "family": "t5", "state": "finished"})
    for step in range(21):
        record.log({"step": step, "loss": 1 / (1 + step)} | ({"eval_kl": step**1.5} if step % 10 == 0 else {}))
    for step, text in ((0, "No."), (10, "No."), (20, "<b>Yes</b>, tea.")):
        record.add_samples([{"step": step, "index": 0, "prompt": "Tea?", "policy": text, "reference": "No."}])
    reader = RunReader([tmp_path])
    document = report(rows_of(reader), reader)
    assert "Tea?" in document and "&lt;b&gt;Yes&lt;/b&gt;, tea." in document
    assert ">step 20<" in document and ">step 10<" not in document  # it said nothing new there
    figures = json.loads(re.findall(r'<script type="application/json" id="figures">(.*?)</script>', document)[0])
    [distance] = figures["eval_kl"]["data"]
    assert distance["x"] == [0, 10, 20] and distance["y"] == pytest.approx([step**1.5 for step in (0, 10, 20)])
    assert "Held out, as it was measured." in document
    faint, bold = figures["loss"]["data"]
    assert faint["y"][-1] == pytest.approx(1 / 21) and bold["y"][-1] > 1 / 21


def test_votes_stand_beside_the_run_that_they_were_cast_on(tmp_path: Path) -> None:
    def cast(first: str, second: str, verdict: Any, blind: bool = True) -> Vote:
        return Vote("k", "Tea?", first, second, "a", "b", verdict, blind=blind)

    own = write(tmp_path / "mine", kind="dpo", family="t5", config={"model": "demo/t5"}, progress={"step": 9})
    (own / "policy").mkdir()
    (own / "checkpoint-4").mkdir()
    (own / "checkpoint-4" / "trainer_state.json").write_text("{}")
    votes = [
        cast("demo/t5", str(own), "b"), cast(str(own), "demo/t5", "a"), cast(str(own), "demo/t5", "b"),
        cast("demo/t5", str(own / "checkpoint-4"), "b"),
        cast("demo/t5", str(own), "b", blind=False), cast("demo/t5", str(own), "tie"), cast("x", str(own), "a"),
        cast("demo/gpt2", "demo/gpt2-dpo", "a"),
    ]  # fmt: skip
    made = {row["name"]: row for row in rows_of(RunReader([tmp_path, BUNDLED_RUNS]), votes)}
    assert (made["mine"]["won"], made["mine"]["votes"]) == (0.75, 4)
    assert (made["Llama-3-gpt2-dpo"]["won"], made["Llama-3-gpt2-dpo"]["votes"]) == (0.0, 1)
    assert made["Llama-3-t5-dpo"]["won"] is None
    # What comes with dpo is not one's own: its cells cannot be written into, and it is not offered for deleting.
    assert [made[name]["own"] for name in ("mine", "Llama-3-gpt2-dpo", "Llama-3-t5-dpo")] == [True, False, False]
    (column,) = [column for column in columns_of(list(made.values())) if column["field"] == "won"]
    assert column["headerName"] == "Votes won"
    assert "won" not in [column["field"] for column in columns_of(rows_of(RunReader([tmp_path])))]
    assert [row["name"] for row in filtered(list(made.values()), "won > 60%")] == ["mine"]


def test_parallel_coordinates_have_a_line_for_each_run_and_logarithms_where_needed() -> None:
    figure, _ = parallel(rows(), ["/r/0"])
    assert len(figure["data"]) == 8
    titles = [note["text"] for note in figure["layout"]["annotations"]]
    assert "<b>lr</b>" in titles and "<b>β</b>" in titles and "<b>loss</b>" not in titles
    assert figure["data"][-1]["line"]["width"] == 2.5  # the chosen one, on top
    assert all(0 <= y <= 1 for line in figure["data"] for y in line["y"])


def test_a_setting_differs_by_its_value_and_by_its_kind() -> None:
    same = {"set/rate": 1.0, "set/seed": 1, "set/name": "a"}
    assert differing([]) == ([], [])
    assert differing([same, dict(same)]) == ([], ["rate", "seed", "name"])
    for other in ({"set/rate": 1}, {"set/rate": "1.0"}, {"set/rate": None}, {"set/rate": 2.0}):
        assert differing([same, dict(same), same | other])[0] == ["rate"]
    assert differing([same, {"set/seed": 1, "set/name": "a"}])[0] == ["rate"]  # it has none
