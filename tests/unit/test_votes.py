"""Votes: none lost, counted right, and given back as preference pairs."""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, multinomial

from dpo.cli.main import main
from dpo.dashboard.application import create_app
from dpo.dashboard.compare.policies import EXAMPLES
from dpo.dashboard.compare.votes import SAMPLE, prompts_left, prompts_of
from dpo.errors import ConfigError, DataError, StorageError
from dpo.evaluation.statistics.strengths import bradley_terry, standard_errors
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


def test_a_vote_is_taken_back_by_its_voter_alone_and_its_prompt_comes_again(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "votes.sqlite")
    assert votes.withdraw("k", "ann") is False and not votes.path.exists()
    offered = prompts_of(SAMPLE)
    everything = prompts_left(offered, [], "ann")
    assert all(prompt == prompt.strip() != "" for prompt in everything)  # as Compare asks, and votes have, them
    assert set(EXAMPLES) < set(everything) and len(set(everything)) == len(everything) > 20
    assert everything != prompts_left(offered, [], "ben") and set(everything) == set(prompts_left(offered, [], "ben"))
    for key, voter in (("k", "ann"), ("anonymous", "")):
        votes.add(vote(key, voter=voter, prompt=everything[0]))
    assert prompts_left(offered, votes.all(), "ann") == everything[1:]
    assert votes.withdraw("k", "ben") is False and votes.withdraw("anonymous", "") is False
    assert votes.withdraw("k", "ann") is True and votes.withdraw("k", "ann") is False
    assert [vote.key for vote in votes.all()] == ["anonymous"]
    assert prompts_left(offered, votes.all(), "ann") == everything


def test_the_sample_is_read_again_only_where_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = tmp_path / "sample.jsonl"
    monkeypatch.setattr("dpo.dashboard.compare.votes.SAMPLE", sample)
    client = create_app([tmp_path], votes=tmp_path / "votes.sqlite").server.test_client()

    def left(word: str, time: int) -> set[str]:
        sample.write_text("".join(json.dumps({"prompt": f"{word} {n:03}"}) + "\n" for n in range(200)))
        os.utime(sample, ns=(time, time))
        prompts = client.get("/api/votes/prompts?voter=ann").get_json()["prompts"]
        return {prompt.split()[0] for prompt in set(prompts) - set(EXAMPLES)}

    assert left("tea", 1) == {"tea"}
    assert left("rum", 1) == {"tea"}  # of the same inode, size and time: nobody looked into it
    assert left("rum", 2) == {"rum"}


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
    [rate] = win_rates(votes)
    assert (rate.first, rate.wins, rate.losses, rate.win_rate) == ("tuned", 30, 10, 0.75)
    # Wilson's interval of a share is close to the normal one here.
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


@pytest.mark.parametrize(("verdicts", "share"), [("bbbbb", 1.0), ("aaaaa", 0.0), ("b" * 60, 1.0), ("t" * 20, 0.5)])
def test_votes_that_agree_leave_room_for_doubt(verdicts: str, share: float) -> None:
    """Redrawn, five wins of five are five wins of five: the intervals must not be points."""
    votes = [vote(n, {"t": "tie"}.get(verdict, verdict)) for n, verdict in enumerate(verdicts)]
    [rate] = win_rates(votes)
    assert rate.win_rate == share and rate.interval == "wilson"
    n = len(verdicts)
    expected = binomtest(round(share * n), n).proportion_ci(method="wilson")
    assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    for strength in strengths(votes):
        assert strength.interval == "normal" and strength.low is not None and strength.high is not None
        assert strength.high - strength.low > 0.5 and strength.low < strength.score < strength.high


def test_a_tie_is_drawn_as_one_vote() -> None:
    """Two half votes drawn apart would make the interval of many ties far too wide."""
    draw = np.random.default_rng(3)
    verdicts = draw.choice(["a", "b", "tie"], p=[0.3, 0.3, 0.4], size=400)
    votes = [vote(n, str(verdict)) for n, verdict in enumerate(verdicts)]
    first, _ = strengths(votes, resamples=600)
    assert first.interval == "bootstrap" and first.low is not None and first.high is not None
    # The share won has variance (p_win + p_tie / 4 - share^2) / n; near one half a score moves by twice as much.
    wins, ties = float(np.mean(verdicts == "a")), float(np.mean(verdicts == "tie"))
    spread = math.sqrt((wins + ties / 4 - (wins + ties / 2) ** 2) / 400)
    assert first.high - first.low == pytest.approx(2 * 1.96 * 2 * spread, rel=0.15)


def test_standard_errors_are_those_of_the_logistic_regression() -> None:
    """For two policies the prior aside: the gap has variance 1 / (n p q), each score a quarter of it."""
    wins = np.array([[0.0, 300.0], [100.0, 0.0]])
    scores = bradley_terry(wins, 25.0)
    expected = math.sqrt(1 / (400 * 0.75 * 0.25) / 4)
    assert standard_errors(wins, scores, 25.0) == pytest.approx([expected, expected], rel=0.01)


def test_many_votes_on_few_prompts_are_little_evidence() -> None:
    """Ten equal votes on each prompt tell what one on each does, not ten times as much."""
    once = [vote(n, "b" if n < 7 else "a") for n in range(10)]
    often = [replace(one, key=f"{one.key}-{k}") for one in once for k in range(10)]
    [few], [many] = win_rates(once), win_rates(often)
    assert (many.n, few.n) == (100, 10) and (many.win_rate, many.low, many.high) == pytest.approx(
        (few.win_rate, few.low, few.high), abs=1e-9
    )
    spread = [vote(n, "b" if n % 10 < 7 else "a") for n in range(60)]
    repeated = [replace(one, key=f"{one.key}-{k}") for one in spread for k in range(10)]
    widths = []
    for votes in (spread, repeated):
        best = strengths(votes, resamples=400)[0]
        assert best.interval == "bootstrap" and best.low is not None and best.high is not None
        widths.append(best.high - best.low)
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    assert win_rates(often[:10])[0].interval is None  # all on one prompt


@pytest.mark.parametrize(
    ("n", "chance", "ties"), [(5, 0.7, 0), (5, 0.9, 0), (10, 0.9, 0), (12, 0.6, 0.4), (20, 0.9, 0), (50, 0.8, 0)]
)
def test_intervals_hold_the_truth_as_often_as_they_claim(n: int, chance: float, ties: float) -> None:
    """Summed over every outcome of n votes: 95 % intervals hold what the votes are drawn from in 90 % or more."""
    odds = [(1 - ties) * chance, (1 - ties) * (1 - chance), ties]
    share = odds[0] + ties / 2
    true = math.log(share / (1 - share)) / 2
    held = np.zeros(2)
    for won, lost in itertools.product(range(n + 1), repeat=2):
        likelihood = multinomial.pmf([won, lost, n - won - lost], n, odds) if won + lost <= n else 0.0
        if likelihood < 1e-6:
            continue
        votes = [vote(k, verdict) for k, verdict in enumerate(["b"] * won + ["a"] * lost + ["tie"] * (n - won - lost))]
        [rate] = win_rates(votes)
        tuned = next(strength for strength in strengths(votes, resamples=60) if strength.policy == "tuned")
        for side, (low, high, truth) in enumerate([(rate.low, rate.high, share), (tuned.low, tuned.high, true)]):
            assert low is not None and high is not None and low < high
            held[side] += likelihood * (low <= truth <= high)
    assert (held >= 0.9).all(), held


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
    with pytest.raises(DataError, match="None of 1 vote prefers an answer"):
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
    told = capsys.readouterr().out
    assert "75% (33%-95%)" in told and "bootstrap from 50 prompts on" in told
    target = tmp_path / "pairs.jsonl"
    assert main(["votes", "export", "--votes", str(path), "--output", str(target)]) == 0
    assert len(target.read_text().splitlines()) == 8
    assert main(["votes", "train", "--votes", str(path), "--dataset", "sample"]) == 2
    assert "leave it out" in capsys.readouterr().err
