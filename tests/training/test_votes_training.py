"""The next DPO round on votes."""

from __future__ import annotations

from pathlib import Path

from dpo.cli.main import main
from dpo.evaluation.votes import Vote, Votes
from dpo.runs import open_run


def test_votes_train_makes_a_run(tmp_path: Path, policy_dirs: dict[str, Path]) -> None:
    votes = Votes(tmp_path / "votes.sqlite")
    for number in range(6):
        votes.add(Vote(str(number), f"Tea {number}?", "x", "y", "I love tea!", f"I do not drink {number}.", "a"))
    line = ["votes", "train", "--votes", str(votes.path), "--model", str(policy_dirs["gpt2"]), "--device", "cpu"]
    line += ["--max-prompt-length", "32", "--max-completion-length", "64"]
    assert main([*line, "--max-steps", "2", "--probes", "0", "--output-dir", str(tmp_path / "run")]) == 0
    run = open_run(tmp_path / "run")
    assert run.state == "finished" and run.metrics().steps[-1] == 2
    assert run.info["dataset"]["pairs"] == 6 and run.config["dataset"] == str(tmp_path / "votes" / "pairs-6.jsonl")
