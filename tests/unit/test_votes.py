"""Votes: none lost, counted right, and given back as preference pairs."""

from __future__ import annotations

import json
import math
import multiprocessing
import sqlite3
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpo.cli.main import main
from dpo.errors import ConfigError, DataError, StorageError
from dpo.evaluation.vote_statistics import statistics, strengths, win_rates
from dpo.evaluation.votes import Vote, Votes, export_pairs, preference_pairs
from dpo.preferences import load_preferences


def vote(key: Any, verdict: Any = "a", **values: Any) -> Vote:
    made = {
        "prompt": f"Prompt {key}?", "policy_a": "base", "policy_b": "tuned", "text_a": f"Text A {key}",
        "text_b": f"Text B {key}", "temperature": 0.7, "settings": {"temperature": 0.7, "top_p": 0.9},
    } | values  # fmt: skip
    return Vote(key=str(key), verdict=verdict, **made)


def cast(path: str, name: str, count: int) -> None:
    for number in range(count):
        assert Votes(path).add(vote(f"{name}-{number}", voter=name))


def test_votes_come_back_as_they_were(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "new" / "votes.sqlite")
    assert votes.all() == []
    given = vote(1, "tie", voter="v", blind=False, seed_a=3, seed_b=4, text_a='<b>"é😄\n</b>', created="2026-01-01")
    assert votes.add(given) and votes.all() == [given]
    assert not votes.add(given) and len(votes.all()) == 1
    (tmp_path / "begun.sqlite").touch()  # as it is while the first vote is being cast
    assert Votes(tmp_path / "begun.sqlite").all() == []
    with sqlite3.connect(votes.path) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_answers_within_conversations_are_no_pairs() -> None:
    """They have no prompt in common; the vote itself counts."""
    turns = {"turns_a": [["Hi", "Hello"]], "turns_b": [["Hi", "Greetings"]]}
    pairs, left_out = preference_pairs([vote(1), vote(2, settings=turns)])
    assert [pair["prompt"] for pair in pairs] == ["Prompt 1?"] and left_out == {"within a conversation": 1}
    long = {"turns_a": [["Hi", "x" * 50_000]], "turns_b": []}
    values = {"key": "k", "prompt": "p", "policy_a": "a", "policy_b": "b", "text_a": "x", "text_b": "y", "verdict": "a"}
    assert Vote.from_values(values | {"settings": long}).settings == long


def test_votes_of_threads_and_processes_at_once_are_all_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "votes.sqlite")
    # Each side begins with the making of the file, which is where a race would be.
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=cast, args=(path, f"process-{n}", 40)) for n in range(2)]
    threads = [threading.Thread(target=cast, args=(path, f"thread-{n}", 40)) for n in range(4)]
    for worker in [*processes, *threads]:
        worker.start()
    for worker in [*processes, *threads]:
        worker.join()
    assert [process.exitcode for process in processes] == [0, 0]
    votes = Votes(path).all()
    assert len(votes) == 240 and len({v.key for v in votes}) == 240


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite"
    path.write_text("not a database, but long enough to look like a file of some kind")
    with pytest.raises(StorageError, match="cannot be read"):
        Votes(path).all()
    with pytest.raises(StorageError, match="cannot be written"):
        Votes(path).add(vote(1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"verdict": "c"}, "verdict is 'c'"),
        ({"prompt": " "}, "prompt is missing"),
        ({"text_a": None}, "text_a is missing"),
        ({"text_b": "x" * 200_000}, "200000 characters"),
        ({"seed_a": "1"}, "seed_a is '1'"),
        ({"temperature": -1}, "temperature is -1"),
        ({"settings": []}, None),
        ({"settings": [1]}, "settings must be"),
        ({"color": "red"}, "no 'color'"),
    ],
)
def test_votes_from_requests_are_checked(change: dict[str, Any], says: str | None) -> None:
    values = {
        "key": "k", "prompt": "p", "policy_a": "x", "policy_b": "y", "text_a": "a", "text_b": "", "verdict": "b",
        "settings": {"temperature": 0.5, "seed": 9},
    } | change  # fmt: skip
    if says is None:
        assert Vote.from_values(values).settings == {}
        return
    with pytest.raises(ConfigError, match=says):
        Vote.from_values(values)


def test_seed_and_temperature_come_from_the_settings() -> None:
    made = Vote.from_values(
        {"key": "k", "prompt": "p", "policy_a": "x", "policy_b": "y", "text_a": "a", "text_b": "b", "verdict": "b",
         "settings": {"temperature": 0.5, "seed": 9}, "seed_b": 11}
    )  # fmt: skip
    assert (made.temperature, made.seed_a, made.seed_b) == (0.5, 9, 11)


def test_two_policies_have_the_closed_form() -> None:
    votes = [vote(n, "b") for n in range(30)] + [vote(100 + n, "a") for n in range(10)]
    best, worst = strengths(votes, resamples=200)
    assert (best.policy, worst.policy) == ("tuned", "base")
    # Without the prior the gap would be log(30 / 10); the prior takes a little off.
    assert best.score - worst.score == pytest.approx(math.log(3), abs=0.03)
    assert best.low is not None and best.high is not None and best.low < best.score < best.high and best.n == 40
    [rate] = win_rates(votes, resamples=2000)
    assert (rate.first, rate.wins, rate.losses, rate.win_rate) == ("tuned", 30, 10, 0.75)
    # The percentile interval of a share is close to the normal one here.
    half = 1.96 * math.sqrt(0.75 * 0.25 / 40)
    assert (
        rate.low is not None
        and rate.low == pytest.approx(0.75 - half, abs=0.03)
        and rate.high == pytest.approx(0.75 + half, abs=0.03)
    )


def test_bradley_terry_finds_the_strengths_that_made_the_votes() -> None:
    true = np.array([-1.0, 0.0, 0.2, 0.8])
    names = ["w", "x", "y", "z"]
    draw = np.random.default_rng(1)
    votes = []
    for number in range(6000):
        a, b = draw.choice(4, size=2, replace=False)
        won = draw.random() < 1 / (1 + math.exp(true[b] - true[a]))
        votes.append(vote(number, "a" if won else "b", policy_a=names[a], policy_b=names[b]))
    found = {strength.policy: strength for strength in strengths(votes, resamples=100)}
    for name, score in zip(names, true, strict=True):
        assert found[name].score == pytest.approx(score, abs=0.12)
        low, high = found[name].low, found[name].high
        assert low is not None and high is not None and high - low < 0.4


def test_ties_bad_temperatures_and_both_orders() -> None:
    votes = [
        vote(1, "a"), vote(2, "b"), vote(3, "tie"), vote(4, "bad"),
        vote(5, "a", policy_a="tuned", policy_b="base"), vote(6, "b", temperature=0.0),
        vote(7, "bad", policy_b="third"), vote(8, "a", policy_b="base"),
    ]  # fmt: skip
    warm, cold, empty = win_rates(votes)
    assert (warm.wins, warm.losses, warm.ties, warm.bad, warm.n) == (2, 1, 1, 1, 4)
    assert warm.win_rate == 2.5 / 4
    assert (cold.temperature, cold.win_rate) == (0.0, 1.0)
    assert empty.n == 0 and empty.win_rate is None
    assert {strength.policy for strength in strengths(votes)} == {"base", "tuned"}
    assert statistics([]).strengths == ()
    assert statistics(votes, resamples=50) == statistics(votes, resamples=50)


def test_a_policy_that_never_lost_stays_finite() -> None:
    best, _ = strengths([vote(n, "b") for n in range(5)], resamples=50)
    assert 0 < best.score < 5 and best.high is not None and math.isfinite(best.high)


def test_few_votes_have_no_interval() -> None:
    votes = [vote(n, "b") for n in range(4)]
    assert strengths(votes)[0].low is None and win_rates(votes)[0].high is None
    assert win_rates(votes)[0].win_rate == 1.0


def test_export_and_its_layout(tmp_path: Path) -> None:
    votes = [
        vote(1, "a"), vote(2, "b"), vote(3, "tie"), vote(4, "bad"), vote(5, "a", text_b=" "),
        vote(6, "a", text_a="same", text_b="same "),
    ]  # fmt: skip
    pairs, left_out = preference_pairs(votes)
    assert pairs == [
        {"prompt": "Prompt 1?", "chosen": "Text A 1", "rejected": "Text B 1"},
        {"prompt": "Prompt 2?", "chosen": "Text B 2", "rejected": "Text A 2"},
    ]
    assert left_out == {"without a winner": 2, "with an empty answer": 1, "with equal answers": 1}
    path = tmp_path / "out" / "pairs.jsonl"
    assert export_pairs(votes, path)[0] == 2
    loaded = load_preferences(str(path), eval_fraction=0.0)
    assert list(loaded.train) == pairs and loaded.info["layout"] == "prompt, chosen, rejected"
    with pytest.raises(DataError, match="None of 1 votes"):
        export_pairs(votes[2:3], path)


def test_command_line(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "votes.sqlite"
    assert main(["votes", "stats", "--votes", str(path)]) == 2
    assert "There are no votes" in capsys.readouterr().err
    for number in range(8):
        Votes(path).add(vote(number, "b" if number % 4 else "a"))
    assert main(["votes", "stats", "--votes", str(path), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["votes"] == 8 and made["win_rates"][0]["win_rate"] == 0.75 and made["win_rates"][0]["n"] == 8
    assert main(["votes", "stats", "--votes", str(path)]) == 0
    assert "75% (" in capsys.readouterr().out
    target = tmp_path / "pairs.jsonl"
    assert main(["votes", "export", "--votes", str(path), "--output", str(target)]) == 0
    assert len(target.read_text().splitlines()) == 8
    assert main(["votes", "train", "--votes", str(path), "--dataset", "sample"]) == 2
    assert "leave it out" in capsys.readouterr().err
