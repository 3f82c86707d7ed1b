"""The Evaluate page's parts: functions of an evaluation's rows, of those only that may be shown."""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from evaluations import by_hand, stored

from dpo.cli import evaluate
from dpo.cli.main import parser
from dpo.dashboard.application import create_app
from dpo.dashboard.evaluate.figures import by_distance, by_temperature
from dpo.dashboard.evaluate.found import Evaluations
from dpo.dashboard.evaluate.naming import Names
from dpo.dashboard.evaluate.progress import progress_of
from dpo.dashboard.evaluate.prompts import rows
from dpo.dashboard.web.access import LOCAL, Access
from dpo.dashboard.web.names import is_within, within
from dpo.errors import DataError, RunError
from dpo.evaluation.comparison.command import arguments_of
from dpo.evaluation.comparison.plan import EvaluationConfig
from dpo.evaluation.comparison.rows import RESULT, ROWS, VERDICTS, RowStore, read_result
from dpo.evaluation.formats.export import FORMATS
from dpo.evaluation.statistics.planning import detectable_difference, spread

HOST = "http://127.0.0.1"
LONG, SHORT = "I am much longer, honestly 😊", "Short."


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An evaluation where the tuned policy's answers are longer under 18 of 20 prompts, shorter under one."""
    path = tmp_path / "evaluations" / "first"
    stored(path, {"tuned": [LONG] * 18 + [SHORT, "Same one."], "base": [SHORT] * 18 + [LONG, "Same one."]})
    return path


def client(root: Path, access: Access = LOCAL) -> Any:
    return create_app([root], access, votes=root / "votes.sqlite").server.test_client()


def get(asked: Any, part: str, **query: Any) -> Any:
    return asked.get(f"/api/evaluations{part}", query_string=query, base_url=HOST)


def test_the_page_says_what_the_record_says(place: Path) -> None:
    made, asked = read_result(place), client(place.parent.parent)
    [found] = get(asked, "").get_json()["evaluations"]
    assert found == {"path": str(place), "name": "first"}
    view = get(asked, "/view", evaluation=str(place)).get_json()
    [row] = made["comparisons"]
    low, high = (f"{100 * row['win_rate'][end]:.0f}" for end in ("low", "high"))
    numbers = f"92.5% ({low}–{high}) of 20 prompts"
    assert view["headline"] == f"Rule: longer wins: tuned is longer than base more often, in {numbers}."
    assert row["verdict"] == "better" and "more often" in view["wins"] and "18 won, 1 tied, 1 lost" in view["wins"]
    assert view["complete"] and view["judge"] == "longer" and view["temperature"] == 0.7
    assert "This size could not have seen a difference below 31.3 points." in view["remarks"]
    assert "reads no meaning" in view["judge_check"]
    assert view["words_of"] == "tuned" and "words longer than base" in view["words"]
    assert "<script" not in json.dumps(view)


@pytest.mark.parametrize(
    ("tuned", "base", "says"),
    [
        ([LONG] * 30, [SHORT] * 30, "is longer than base more often"),
        ([LONG, SHORT] * 4, [SHORT, LONG] * 4, "8 prompts cannot tell whether tuned is longer than base more often"),
        ([SHORT] * 30, [LONG] * 30, "is longer than base less often"),
        (["Same one."] * 400, ["Same one."] * 400, "is longer than base equally often"),
    ],
)
def test_the_word_is_that_of_the_interval(tmp_path: Path, tuned: list[str], base: list[str], says: str) -> None:
    stored(tmp_path / "evaluations" / "e", {"tuned": list(tuned), "base": list(base)})
    view = get(client(tmp_path), "/view", evaluation=str(tmp_path / "evaluations" / "e")).get_json()
    assert says in view["headline"]


def test_rows_have_every_verdict_and_a_row_opens_its_answers(place: Path) -> None:
    asked = client(place.parent.parent)
    found = get(asked, "/prompts", evaluation=str(place)).get_json()["rows"]
    assert [row["units"][0]["worths"] for row in found] == [[1.0]] * 18 + [[0.0], [0.5]]
    assert [row["units"][0]["strips"][0] for row in found] == ["a"] * 18 + ["b", "t"]
    assert found[0]["units"][0]["longer"] == len(LONG.split()) - 1
    texts = get(asked, "/texts", evaluation=str(place)).get_json()["answers"]
    assert texts == [[LONG, SHORT]] * 18 + [[SHORT, LONG], ["Same one.", "Same one."]]
    one = get(asked, "/answers", evaluation=str(place), at=18).get_json()
    assert one["answers"]["base"][0]["text"] == LONG and one["said"][0][0]["verdict"] == "b"
    for at, says in (("20", "it has 20"), ("x", "at is missing"), ("-1", "it has 20")):
        answer = get(asked, "/answers", evaluation=str(place), at=at)
        assert answer.status_code == 400 and says in answer.get_json()["error"]


def test_orders_and_votes_are_letters_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "evaluations" / "voted"
    by_hand(path, [["a", "b"], ["a", "a"]], votes=["bad", "b"])
    found = rows(Evaluations([tmp_path], LOCAL).open(str(path)), 0.7)
    assert [row["units"][0]["strips"] for row in found] == [["t", "t"], ["a", "b"]]
    assert [row["units"][0]["worths"] for row in found] == [[0.5, 0.5], [1.0, 0.0]]


def test_the_result_is_that_of_the_two_files_whatever_eval_json_says(place: Path) -> None:
    made = read_result(place)
    evaluations = Evaluations([place.parent.parent], LOCAL)
    assert evaluations.open(str(place)).made == made
    newest = max((place / name).stat().st_mtime_ns for name in (ROWS, VERDICTS))
    for text, when in (
        ("{}", newest + 10**9),
        ("not JSON", newest + 10**9),
        (json.dumps(made | {"complete": False, "plan": {"key": "another"}}), newest + 10**9),
        (json.dumps(made | {"complete": False}), newest - 10**9),  # written before the last rows
    ):
        (place / RESULT).write_text(text, encoding="utf-8")
        os.utime(place / RESULT, ns=(when, when))
        assert evaluations.open(str(place)).made["complete"] is True, text[:20]


def test_only_what_lies_under_the_runs_is_shown(
    place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    stored(elsewhere / "evaluations" / "secret", {"tuned": [LONG] * 4, "base": [SHORT] * 4})
    root = place.parent.parent
    (root / "evaluations" / "link").symlink_to(elsewhere / "evaluations" / "secret")
    asked = client(root)
    assert [one["name"] for one in get(asked, "").get_json()["evaluations"]] == ["first"]
    for name in (elsewhere / "evaluations" / "secret", root / "evaluations" / "link", f"{root}/../x", "/", "", "a\0b"):
        for part in ("/view", "/prompts", "/texts", "/export"):
            answer = get(asked, part, evaluation=str(name), format="csv")
            assert answer.status_code == 400, (part, name)
    # Whoever is at this machine keeps evaluations where he works, too; a network gets no such view.
    monkeypatch.chdir(elsewhere)
    assert len(Evaluations([root], LOCAL).find()) == 2
    assert len(Evaluations([root], Access(host="0.0.0.0")).find()) == 1


def test_a_name_is_looked_up_where_links_lead(tmp_path: Path) -> None:
    """One look for runs and evaluations; a directory of runs may itself be a run, one of evaluations is none."""
    root, other = tmp_path / "root", tmp_path / "other"
    for directory in (root / "run", other / "run"):
        directory.mkdir(parents=True)
    (root / "out").symlink_to(other / "run")
    (tmp_path / "link").symlink_to(root)
    assert is_within(root / "run", [root]) and is_within(tmp_path / "link" / "run", [root])
    assert is_within(root / "run", [tmp_path / "link"]) and is_within(root, [root])
    assert not is_within(root, [root], itself=False) and not is_within(f"{root}-2", [root])
    for name in (root / "out", other / "run", f"{root}/../other", "", "a\0b", "/"):
        assert not is_within(name, [root])
        with pytest.raises(RunError, match="in none of the directories shown here"):
            within(str(name), [root], RunError)
    assert within(f"{root}/run", [other, root], RunError) == root / "run"


@pytest.mark.parametrize("damage", ["plan", "answers", "empty"])
def test_damaged_rows_are_one_clear_line(place: Path, damage: str) -> None:
    (place / RESULT).unlink()
    if damage == "plan":
        (place / ROWS).write_text('{"kind": "plan", "key": "k", "prompts": 3}\n', encoding="utf-8")
    elif damage == "answers":
        text = (place / ROWS).read_text(encoding="utf-8").replace('"measures"', '"other"')
        (place / ROWS).write_text(text, encoding="utf-8")
    else:
        (place / ROWS).write_text("", encoding="utf-8")
    answer = get(client(place.parent.parent), "/view", evaluation=str(place))
    message = answer.get_json()["error"]
    assert answer.status_code == 400 and "\n" not in message and str(place) in message
    with pytest.raises(DataError):
        Evaluations([place.parent.parent], LOCAL).open(str(place / "nothing"))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_can_be_saved(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evaluations" / "e"
    pairs = [{"chosen": LONG, "rejected": SHORT}]
    stored(path, {"tuned": [LONG] * 5, "base": [SHORT] * 5}, pairs=pairs)
    answer = get(client(tmp_path), "/export", evaluation=str(path), format=name)
    if answer.status_code == 400:  # no tuned policy's pairs were scored here
        assert name in ("lm-eval",) and "nothing" in answer.get_json()["error"]
        return
    assert answer.status_code == 200 and f"e-{name}" in answer.headers["Content-Disposition"]
    if answer.mimetype == "application/zip":
        assert zipfile.ZipFile(io.BytesIO(answer.data)).testzip() is None
    refused = get(client(tmp_path), "/export", evaluation=str(path), format="word")
    assert refused.status_code == 400 and "No format is called" in refused.get_json()["error"]


def test_what_a_stranger_wrote_is_shown_as_text(tmp_path: Path) -> None:
    """Names and words of an evaluation never become markup, and a name of a path elsewhere is not looked into."""
    path = tmp_path / "evaluations" / "odd"
    evil = "<img src=x onerror=alert(1)>"
    stored(path, {evil: [f"{evil} longer answer here"] * 30, "/etc": [SHORT] * 30})
    view = get(client(tmp_path), "/view", evaluation=str(path)).get_json()
    parts = "".join(view[name] for name in ("facts", "wins", "slices", "words", "judge_check"))
    assert "<img" not in parts and "&lt;img" in parts
    assert "<img" not in json.dumps(view["temperature_figure"])
    assert RowStore(path).plan is not None


@pytest.mark.parametrize(
    "config",
    [
        EvaluationConfig(["demo/t5-dpo"]),
        EvaluationConfig(
            ["a", "b c"], "demo/gpt2", "sample", "test", eval_fraction=0.25, prompts=3, samples=2,
            temperatures=(0.0, 1.0), judges=["votes", "reward:a"], votes="v.sqlite", judge_tokens=9, until_clear=True,
            max_new_tokens=8, seed=4, batch_size=2, device="cpu", output_dir="out", kl_prompts=7, plain_text="p.txt",
            slices=["tea=tea|milk"],
        ),
    ],
)  # fmt: skip
def test_the_command_asks_for_the_same(config: EvaluationConfig) -> None:
    asked = evaluate._config(parser().parse_args(arguments_of(config)))
    for field in fields(EvaluationConfig):  # a setting that is forgotten here would be lost on the way to the queue
        one, other = (getattr(of, field.name) for of in (asked, config))
        assert (list(one) == list(other)) if isinstance(other, list | tuple) else one == other
        assert len(config.policies) == 1 or field.name == "columns" or other != field.default, field.name


def test_the_chart_by_temperature_has_the_interval_of_each_win_rate() -> None:
    rates = {0.0: (0.6, 0.5, 0.68), 1.0: (0.4, None, None)}
    rows = [
        {"policy": "demo/gpt2-dpo", "against": "demo/gpt2", "judge": "longer", "temperature": t,
         "win_rate": {"value": value, "low": low, "high": high}}
        for t, (value, low, high) in rates.items()
    ]  # fmt: skip
    made = {"comparisons": rows, "plan": {"comparisons": [["demo/gpt2-dpo", "demo/gpt2"]]}}
    plan = {"policies": {"demo/gpt2-dpo": "a", "demo/gpt2": "b"}, "comparisons": made["plan"]["comparisons"]}
    figure, note = by_temperature(made, Names(plan | {"judges": []}, Path), "longer")
    [line] = figure["data"]
    assert line["error_y"]["array"] == pytest.approx([0.08, 0]) and line["error_y"]["arrayminus"] == [
        pytest.approx(0.1),
        0,
    ]
    assert note.startswith("Against its own base, bars 95%: ")


def test_the_frontier_has_a_mark_a_policy_and_the_fit() -> None:
    plan = {"policies": ["demo/t5-dpo", "a", "demo/t5"], "comparisons": [["demo/t5-dpo", "demo/t5"], ["a", "demo/t5"]]}
    names = Names(plan | {"judges": []}, Path)
    points = [{"policy": "demo/t5-dpo", "distance": 1.0, "gain": 0.5}, {"policy": "a", "distance": 2.0, "gain": 0.4}]
    row = {"judge": "m", "temperature": 0.7, "against": "demo/t5", "points": points, "gain_is": "score", "past": ["a"],
           "why": None, "hump": {"a": 0.5, "b": 0.3, "peak": 1.9}}  # fmt: skip
    figure, note = by_distance({"frontier": [row]}, names, "m", 0.7)
    fit, *marks = figure["data"]
    assert [(mark["x"], mark["y"]) for mark in marks] == [([1.0], [0.5]), ([2.0], [0.4])]
    at_one = next(y for x, y in zip(fit["x"], fit["y"], strict=True) if x >= 1)
    assert at_one == pytest.approx(0.5, abs=0.02)  # R = d (a - b log d) at d = 1 is a
    assert note == "Gain in score; from T5 base the fit peaks at 1.90; a is past the top"
    unfit = row | {"hump": None, "past": [], "why": "fewer than 10 prompts"}
    assert "no curve is fitted: fewer than 10" in by_distance({"frontier": [unfit]}, names, "m", 0.7)[1]
    assert by_distance({"frontier": [row]}, names, "another", 0.7)[1] == ""


def test_a_plan_says_what_it_can_see_and_what_it_asks(tmp_path: Path) -> None:
    asked = client(tmp_path)
    body = {"policies": ["demo/gpt2-dpo"], "dataset": "sample", "prompts": 5, "samples": 2, "temperatures": "0, 1"}
    found = asked.post("/api/evaluations/plan", json=body, base_url=HOST).get_json()
    assert found["prompts"] == 5 and found["answers"] == found["missing"] == 5 * (1 + 2) * 2
    assert found["verdicts"] == 5 * 3 * 2 and found["comparisons"] == [["demo/gpt2-dpo", "demo/gpt2"]]
    assert found["points"] == pytest.approx(100 * detectable_difference(5, spread(samples=2)))
    assert found["directory"] == str(tmp_path / "evaluations" / "gpt2-dpo-on-sample")
    for wrong, says in (
        ({"policies": ["/etc"]}, "not in a directory of runs"),
        ({"judges": ["battles:/etc/passwd"]}, "reads data from"),
        ({"judges": ["nobody"]}, "No judge is called"),
        ({"temperatures": "hot"}, "give numbers"),
        ({"prompts": 1.5}, "whole number"),
        ({"policies": ["--help"]}, "is no name"),
        ({"policies": []}, "No policy is named"),
    ):
        answer = asked.post("/api/evaluations/plan", json=body | wrong, base_url=HOST)
        assert answer.status_code == 400 and says in answer.get_json()["error"], wrong


def test_whoever_may_not_train_starts_nothing(tmp_path: Path) -> None:
    asked = client(tmp_path, Access(host="0.0.0.0"))
    for part in ("start", "stop", "resume"):
        answer = asked.post(f"/api/evaluations/{part}", json={"evaluation": "x", "policies": []}, base_url=HOST)
        assert answer.status_code == 403, part
    body = {"policies": ["demo/gpt2-dpo"], "dataset": "sample", "judges": ["endpoint:http://10.0.0.1/v1#m"]}
    answer = asked.post("/api/evaluations/plan", json=body, base_url=HOST)
    assert answer.status_code == 400 and "may not be asked from here" in answer.get_json()["error"]


def test_progress_counts_what_is_in_the_files(place: Path) -> None:
    asked = client(place.parent.parent)
    assert get(asked, "/progress", evaluation=str(place)).get_json() == {"job": None, "progress": None}
    found = Evaluations([place.parent.parent], LOCAL).open(str(place))
    made = progress_of(found, Names(found.plan, Path))
    assert (made["done"], made["total"]) == (60, 60)
    assert [one["done"] for one in made["answers"]] == [20, 20]
    live = made["live"]
    assert live is not None and live["n"] == 20 and live["value"] == 0.925 and live["low"] < 0.9 and live["clear"]


def test_people_vote_blind_and_correct_the_judge(tmp_path: Path) -> None:
    """Forty prompts that a hash picks, the same for all voters; their votes become a judge of the evaluation."""
    path = tmp_path / "evaluations" / "e"
    policy, base = "demo/gpt2-dpo", "demo/gpt2"
    stored(path, {policy: [LONG] * 30 + [SHORT] * 20, base: [SHORT] * 30 + [LONG] * 20})
    before = (path / ROWS).read_text(encoding="utf-8"), read_result(path)
    asked = client(tmp_path)
    ballot = get(asked, "/ballot", evaluation=str(path), voter="me").get_json()
    assert ballot["prompts"] == len(ballot["items"]) == 40 and ballot["voted"] == 0
    places = [item["at"] for item in ballot["items"]]
    assert places != sorted(places) and len(set(places)) == 40
    assert [
        item["at"] for item in get(asked, "/ballot", evaluation=str(path), voter="you").get_json()["items"]
    ] == places
    for number, item in enumerate(ballot["items"][:12]):  # people like short answers, shown at whichever place
        order = [0, 1] if number % 2 else [1, 0]
        texts = [item["texts"][side] for side in order]
        vote = {
            "key": item["key"], "voter": "me", "prompt": item["prompt"], "settings": item["settings"],
            "temperature": item["temperature"], "verdict": "a" if texts[0] == SHORT else "b",
            **{f"policy_{end}": item["policies"][side] for end, side in zip("ab", order, strict=True)},
            **{f"text_{end}": text for end, text in zip("ab", texts, strict=True)},
        }  # fmt: skip
        assert asked.post("/api/votes", json=vote, base_url=HOST).status_code == 200
    again = get(asked, "/ballot", evaluation=str(path), voter="me").get_json()
    assert (again["voted"], len(again["items"])) == (12, 28)
    send = {"json": {"evaluation": str(path)}, "base_url": HOST}
    assert asked.post("/api/evaluations/votes", **send).get_json() == {"added": 12}
    made = read_result(path)
    longer, people = (next(row for row in made["comparisons"] if row["judge"] == name) for name in ("longer", "votes"))
    short = sum(item["texts"][0] == SHORT for item in ballot["items"][:12])
    assert (people["wins"], people["losses"]) == (short, 12 - short) and made["agreement"][0]["agree"] == 0.0
    assert (
        longer["people"]["n"] == 12 and longer["people"]["weight"] == 0
    )  # a judge that people contradict counts nothing
    assert longer["win_rate"] == before[1]["comparisons"][0]["win_rate"]
    assert (path / ROWS).read_text(encoding="utf-8").startswith(before[0])  # rows only grow
    assert "By people" in get(asked, "/view", evaluation=str(path)).get_json()["wins"]
    assert asked.post("/api/evaluations/votes", **send).get_json() == {"added": 0}
    assert read_result(path) == made
