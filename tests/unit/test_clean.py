"""Cleaning puts right what the audit found, and leaves nothing half written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from talks import Write, audited, found, shuffled, talk

from dpo.cli import main
from dpo.errors import ConfigError, DataError
from dpo.preferences import load_preferences
from dpo.preferences import reading as files
from dpo.preferences.audit import audit
from dpo.preferences.audit.clean import Remedies, clean, preview, remedies_of
from dpo.preferences.normalise import normalise


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_repair_puts_answers_back(write_pairs: Write, tmp_path: Path) -> None:
    rows = talk(1000)
    source = write_pairs(shuffled(rows, 300, 599, "rejected"))
    done = clean(str(source), tmp_path / "clean.jsonl", Remedies(repair_mispaired=True))
    own = {row["prompt"]: row["rejected"] for row in rows}
    log = read(done.log)
    repaired = [entry["row"] for entry in log if entry["action"] == "changed"]
    by_prompt = {row["prompt"]: row["rejected"] for row in read(done.output)}
    right = [by_prompt[rows[row]["prompt"]] == own[rows[row]["prompt"]] for row in repaired]
    assert len(right) > 150
    assert np.mean(right) > 0.95
    assert done.written == 1000 - sum(done.dropped.values())
    assert {entry["row"] for entry in log} >= set(range(350, 550))
    dropped = clean(str(source), tmp_path / "dropped.jsonl", Remedies(drop_mispaired=True))
    assert not found(audited(dropped.output), "mispaired")
    assert abs(dropped.dropped["mispaired"] - 300) <= 20


def test_other_remedies_and_the_log(write_pairs: Write, tmp_path: Path) -> None:
    rows = talk(300, emoji=True)
    rows[5]["rejected"] = rows[5]["chosen"]
    rows[6]["chosen"] = "mail jane@corp.org"
    rows.append(dict(rows[9]))
    source = str(write_pairs(rows))
    before = Path(source).read_bytes()
    remedies = Remedies(drop_identical=True, drop_duplicates=True, drop_private=True, strip=("emoji",))
    done = clean(source, tmp_path / "a.jsonl", remedies)
    effect = preview(source, remedies, examples=1)
    assert (effect.rows, effect.written) == (done.rows, done.written)
    assert (effect.dropped, effect.changed) == (done.dropped, done.changed)
    stripped = next(example for example in effect.examples if example.after is not None)
    assert "😀" in stripped.before["chosen"] and "😀" not in stripped.after["chosen"]
    assert sorted(example.row for example in effect.examples if example.after is None) == [6, 300]
    log = {entry["row"]: entry for entry in read(done.log)}
    assert log[5]["why"] == "with equal answers"
    assert log[6]["why"].startswith("holds what looks like personal data")
    assert log[300]["why"] == "duplicate of an earlier pair"
    assert "😀" not in done.output.read_text(encoding="utf-8")
    assert done.written == 298
    assert Path(source).read_bytes() == before
    assert remedies_of(audited(Path(source)).findings).drop_duplicates
    kept = clean(source, tmp_path / "b.jsonl", Remedies(strip=("emoji",)))
    assert kept.dropped == {"nothing left without emoji": 1} or kept.written == 301
    with pytest.raises(ConfigError, match="exists already"):
        clean(source, tmp_path / "a.jsonl", remedies)
    with pytest.raises(ConfigError, match="choose from emoji"):
        clean(source, tmp_path / "c.jsonl", Remedies(strip=("nouns",)))
    with pytest.raises(ConfigError, match="contradict"):
        clean(source, tmp_path / "c.jsonl", Remedies(drop_mispaired=True, repair_mispaired=True))


def test_a_failed_cleaning_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "bad.jsonl"
    good = json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"})
    source.write_text((good + "\n") * 2000 + "{broken\n")
    with pytest.raises(DataError, match="line 2001"):
        clean(str(source), tmp_path / "out.jsonl", Remedies(drop_identical=True))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]


def test_transcripts_that_give_no_pair_are_counted_told_and_left_out(
    write_pairs: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def talked(question: str, answer: str) -> str:
        return f"\n\nHuman: {question}\n\nAssistant:{answer}"

    rows = [{side: talked(row["prompt"], " " + row[side]) for side in ("chosen", "rejected")} for row in talk(120)]
    rows[3]["rejected"] = talked("Another question?", " yes")
    rows[4]["rejected"] = talked("Another question?", " no")
    rows[7]["chosen"] = rows[7]["chosen"].rpartition("Assistant:")[0] + "Assistant:"
    rows[9]["rejected"] = rows[9]["chosen"]
    rows[11]["chosen"] += "\n\nHuman: Thanks!"
    source = str(write_pairs(rows))
    result = audit(normalise(source))
    assert (result.rows, result.pairs) == (120, 115)
    told = {code: [f.rows for f in found(result, code)] for code in ("prompts-differ", "blank", "identical-sides")}
    assert told == {"prompts-differ": [((3, 4),)], "blank": [((7, 7),)], "identical-sides": [((9, 9),)]}
    assert found(result, "not-an-answer")[0].rows == ((11, 11),)
    assert "hold two conversations that differ before the answer" in found(result, "prompts-differ")[0].sentence
    output = tmp_path / "clean.jsonl"
    assert main(["data", "clean", source, "--output", str(output), "--drop-identical"]) == 0
    assert "2 dropped: whose two prompts differ" in capsys.readouterr().out
    why = {entry["row"]: entry["why"] for entry in read(tmp_path / "clean.jsonl.log.jsonl")}
    assert why == {
        3: "whose two prompts differ", 4: "whose two prompts differ", 7: "with a blank chosen",
        9: "with equal answers", 11: "that do not end in an answer",
    }  # fmt: skip
    assert len(read(output)) == 115
    dropped = load_preferences(source).info["dropped"]
    assert sum(dropped.values()) == 5 and dropped["whose two prompts differ"] == 2


def test_odd_files_are_told_and_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}).encode() + b"\n"
    byte = b'{"prompt": "caf\xe9", "chosen": "a", "rejected": "b"}\n'
    odd = {"byte": good * 1500 + byte, "torn": good * 1500 + b'{"pr'}
    for name, content in odd.items():
        source = tmp_path / f"{name}.jsonl"
        source.write_bytes(content)
        for command in (["audit"], ["clean", "--output", str(tmp_path / "out.jsonl"), "--drop-duplicates"]):
            assert main(["data", command[0], str(source), *command[1:]]) == 2
            told = capsys.readouterr().err.strip()
            assert "line 1501" in told and "\n" not in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["byte.jsonl", "torn.jsonl"]


def test_a_file_that_changes_under_a_cleaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "growing.jsonl"
    good = json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}) + "\n"
    source.write_text(good * 5000)
    rows, lines = 0, files._lines

    def growing(*arguments: Any) -> Any:
        nonlocal rows
        for line in lines(*arguments):
            rows += 1
            if rows == 2000:
                with source.open("a") as file:
                    file.write(good)
            yield line

    monkeypatch.setattr(files, "_lines", growing)
    with pytest.raises(DataError, match="changed while it was being read"):
        clean(str(source), tmp_path / "out.jsonl", Remedies(drop_identical=True))
    assert [path.name for path in tmp_path.iterdir()] == ["growing.jsonl"]
