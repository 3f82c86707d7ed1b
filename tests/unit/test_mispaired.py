"""Texts that belong to other rows: a whole side, single rows; and re-pairing them with a precision that is so."""

from __future__ import annotations

import base64
import json
import random
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from talks import Rows, Write, audited, found, shuffled, talk

from dpo.cli import main
from dpo.dashboard.audit_jobs import AuditJobs
from dpo.dashboard.data.cards import finding_cards, remedies
from dpo.dashboard.data.mapping import _cut
from dpo.preferences.audit import repairing
from dpo.preferences.audit import scattered as search
from dpo.preferences.audit.clean import Remedies, clean
from dpo.preferences.audit.language import language_of
from dpo.preferences.audit.mispaired import CODES
from dpo.preferences.audit.pairing import Pairing, find_mispaired
from dpo.preferences.audit.remedies import mend_mispaired
from dpo.preferences.audit.words import Words
from dpo.preferences.spec import DataSpec
from dpo.training.config import TrainConfig
from dpo.training.pairs import audit_pairs, load_pairs, record_audit
from dpo.training.preflight import preflight


def scattered(rows: Rows, share: float, side: str, seed: int = 0) -> tuple[Rows, set[int]]:
    """`rows` with one side of a share of them, drawn anywhere, in another order; the rows that differ."""
    rng = random.Random(seed)
    places = rng.sample(range(len(rows)), round(share * len(rows)))
    changed = [dict(row) for row in rows]
    for place, origin in zip(places, [*places[1:], places[0]], strict=True):
        changed[place][side] = rows[origin][side]
    return changed, {place for place in places if changed[place] != rows[place]}


def pairing_of(rows: Rows) -> Pairing:
    words = Words(("prompt", "chosen", "rejected"))
    columns = []
    for side in ("prompt", "chosen", "rejected"):
        words.add(side, [row[side] for row in rows])
        columns.append(words.column(side))
    return find_mispaired(*columns, len(words))


@pytest.mark.parametrize("side", ["rejected", "chosen", "prompt"])
def test_a_side_in_another_order_is_found_by_its_links(side: str, write_pairs: Write) -> None:
    rows = shuffled(talk(400), 0, 399, side)
    result = audited(write_pairs(rows))
    [finding] = found(result, "mispaired")
    assert (finding.severity, finding.evidence["side"], finding.rows) == ("fault", side, ((0, 399),))
    links = result.measures["links"]
    broken = [power for link, power in links.items() if side in link.split("-")]
    assert max(broken) < 0.6 < max(links.values())
    assert finding.remedy.startswith("--repair-mispaired")


def test_a_side_that_says_nothing_of_its_rows_is_not_called_mispaired(write_pairs: Write) -> None:
    rng = random.Random(0)
    excuses = [f"excuse{n}" for n in range(300)]
    rows = [row | {"rejected": " ".join(rng.choices(excuses, k=20))} for row in talk(400)]
    result = audited(write_pairs(rows))
    assert not any(found(result, code) for code in CODES)
    [finding] = found(result, "unrelated-side")
    assert finding.severity == "warning" and "rejected answers fit their own rows no better" in finding.sentence


@pytest.mark.parametrize("side", ["rejected", "chosen", "prompt"])
def test_single_rows_are_named_and_the_others_counted(side: str, write_pairs: Write) -> None:
    rows, wrong = scattered(talk(1500), 0.05, side)
    result = audited(write_pairs(rows))
    [finding] = [finding for finding in found(result, "mispaired-rows") if finding.evidence["side"] == side]
    named = {row for first, last in finding.rows for row in range(first, last + 1)}
    assert finding.severity in ("fault", "warning")
    assert len(named & wrong) > 0.5 * len(wrong)
    assert len(named & wrong) > 0.85 * len(named)
    assert finding.evidence["precision"] == pytest.approx(len(named & wrong) / len(named), abs=0.12)
    assert finding.evidence["estimated"] == pytest.approx(len(wrong), rel=0.4)
    # Nothing of it in the same rows as they were.
    clean_one = audited(write_pairs(talk(1500)))
    assert not [f for code in CODES for f in found(clean_one, code) if f.severity != "note"]


def test_of_very_many_rows_a_sample_of_texts_is_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, wrong = scattered(talk(1500), 0.1, "chosen")
    [every] = [single for single in pairing_of(rows).scattered if single.side == "chosen"]
    monkeypatch.setattr(search, "_MOST_FITS", 20_000)
    [some] = [single for single in pairing_of(rows).scattered if single.side == "chosen"]
    assert 10 < len(some.places) < 0.75 * len(every.places)
    assert some.estimated == pytest.approx(len(wrong), rel=0.5)
    assert np.isin(some.places, list(wrong)).mean() > 0.8


def test_a_stretch_that_says_little_is_no_mispaired_block(write_pairs: Write) -> None:
    # In one of five of 200 rows the answers take up words of their prompt: less than elsewhere, not at random.
    rows = talk(1500)
    for place in range(600, 800):
        if place % 5:
            for side, words in (("chosen", 20), ("rejected", 22)):
                rows[place][side] = " ".join(f"word{(place * 7 + n) % 200}" for n in range(words))
    assert not found(audited(write_pairs(rows)), "mispaired")


def test_what_is_done_about_them(write_pairs: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = talk(500)
    whole = str(write_pairs(shuffled(rows, 0, 499, "rejected"), "whole.jsonl"))
    assert main(["data", "clean", whole, "--output", str(tmp_path / "none.jsonl"), "--drop-mispaired"]) == 2
    assert "would leave nothing: all rejected answers" in capsys.readouterr().err
    assert not (tmp_path / "none.jsonl").exists()
    assert main(["data", "clean", whole, "--output", str(tmp_path / "mended.jsonl"), "--repair-mispaired"]) == 0
    output = capsys.readouterr().out
    assert "too few other rows to measure" in output
    mended = [json.loads(line) for line in (tmp_path / "mended.jsonl").read_text(encoding="utf-8").splitlines()]
    own = {row["prompt"]: row["rejected"] for row in rows}
    assert np.mean([own[row["prompt"]] == row["rejected"] for row in mended]) > 0.85 and len(mended) > 200

    mixed, wrong = scattered(talk(1000), 0.06, "chosen")
    source = str(write_pairs(mixed, "mixed.jsonl"))
    done = clean(source, tmp_path / "dropped.jsonl", Remedies(drop_mispaired=True))
    left_out = {json.loads(line)["row"] for line in done.log.read_text(encoding="utf-8").splitlines()}
    assert len(left_out & wrong) > 0.85 * len(left_out) and len(left_out) > 0.5 * len(wrong)
    [note] = done.notes
    assert re.match(r"Left out \d+ single rows whose chosen answers fit other rows; \d+% of them", note)


def test_the_precision_of_a_repair_is_what_it_says(write_pairs: Write, tmp_path: Path) -> None:
    rows = talk(900)
    mixed = shuffled(rows, 300, 549, "rejected")
    done = clean(str(write_pairs(mixed)), tmp_path / "a.jsonl", Remedies(repair_mispaired=True))
    [note] = done.notes
    sentences = re.search(r"about (\d+)% are right \(the own text (\d+)%", note)
    assert sentences is not None and int(sentences[1]) >= 85
    own = {row["prompt"]: row["rejected"] for row in rows}
    log = [json.loads(line) for line in done.log.read_text(encoding="utf-8").splitlines()]
    given = [entry for entry in log if entry["action"] == "changed"]
    right = [entry for entry in given if own[rows[entry["row"]]["prompt"]] == mixed[entry["from_row"]]["rejected"]]
    assert len(given) > 150
    assert 100 * len(right) / len(given) == pytest.approx(int(sentences[2]), abs=8)


def test_assignment_in_bounded_memory_finds_the_same_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    from scipy.sparse import csr_matrix

    from dpo.preferences.audit.words import unit

    topics = rng.normal(size=(300, 20)).astype(np.float32)
    signs = unit(csr_matrix(rng.random((300, 400)) * (rng.random((300, 400)) < 0.05)))
    order = rng.permutation(300)
    rows, texts = repairing.Vectors(signs, topics * 0.1), repairing.Vectors(signs[order], topics[order] * 0.1)
    best, margin = repairing.assign(rows, texts)
    assert (order[best] == np.arange(300)).all() and (margin > 0).all()
    monkeypatch.setattr(repairing, "MOST_ASSIGNED", 100)
    monkeypatch.setattr(repairing, "_CELLS", 300 * 7)
    greedy, lead = repairing.assign(rows, texts)
    assert (greedy == best).all() and np.allclose(lead, margin, atol=1e-5)


def test_shuffled_rows_of_a_public_data_set(shared: Path) -> None:
    source = shared / "data" / "human-like" / "human_like_dpo.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    rows = [{side: row[side] for side in ("prompt", "chosen", "rejected")} for row in rows[1400:]]
    untouched = pairing_of(rows)
    assert not untouched.blocks and untouched.column is None and not untouched.scattered
    for side in ("rejected", "chosen", "prompt"):
        whole, _ = scattered(rows, 1.0, side)
        assert pairing_of(whole).column == side
    changed, wrong = scattered(rows, 0.1, "prompt")
    [single] = pairing_of(changed).scattered
    named = set(single.places.tolist())
    assert single.clear and single.side == "prompt"
    assert len(named & wrong) > 0.85 * len(named) and len(named) > 0.05 * len(wrong)


def test_a_training_says_how_to_mend_its_pairs_and_the_line_works_as_printed(
    write_pairs: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs(shuffled(talk(600), 100, 300, "rejected"), "my pairs.jsonl")
    (tmp_path / "my pairs-cleaned.jsonl").touch()  # of another day: it is not written over
    config = TrainConfig(model="demo/gpt2", dataset="my pairs.jsonl", eval_fraction=0.1)
    record_audit(tmp_path, load_pairs(config), config)
    output = capsys.readouterr().err
    assert re.search(r"^dpo: in the audit of 600 pairs: Rows \d+ to \d+ have rejected answers that", output, re.M)
    [(command, cleaned)] = re.findall(r"mend them: (dpo .*), then train with --dataset (.*)$", output, re.M)
    assert "shortcut-" not in output and command.endswith("--repair-mispaired")
    assert main(shlex.split(command)[1:]) == 0
    mended = load_pairs(replace(config, dataset=shlex.split(cleaned)[0]))
    assert not any(finding.code in CODES for finding in audit_pairs(mended, config).severe())
    looked = {line["topic"]: line["text"] for line in preflight(config, tmp_path, [])}
    assert "mend them before you train: dpo data clean 'my pairs.jsonl' --eval-fraction 0.1" in looked["Mispaired"]
    mixed = replace(config, dataset="my pairs.jsonl=2,sample=1")
    assert "dpo data audit 'my pairs.jsonl' --eval-fraction 0.1; dpo data audit sample" in str(
        mend_mispaired(audit_pairs(load_pairs(config), config), DataSpec.of(vars(mixed)))
    )


def test_the_command_of_the_data_page_works_for_an_upload(write_pairs: Write, tmp_path: Path) -> None:
    content = write_pairs(shuffled(talk(300), 50, 150, "chosen")).read_bytes()
    audits = AuditJobs(tmp_path / "none")
    try:
        value = audits.receive("of a friend's.jsonl", "data:;base64," + base64.b64encode(content).decode())
        result = audited(Path(audits.named(value)))
        command = remedies(result, audits.named(value))
        assert audits.label(value) == "of a friend's.jsonl" and "--repair-mispaired" in command
        output = str(tmp_path / "out.jsonl")
        words = shlex.split(command)[1:]
        assert main([output if word.endswith("-cleaned.jsonl") else word for word in words]) == 0
        cards = finding_cards(result)
        states = {card.to_plotly_json()["props"]["data-code"]: card.className for card in cards}
        assert states["licence"] == "audit card note" and states["mispaired"] == "audit card fault"
    finally:
        audits.close()


@pytest.mark.parametrize("text", ["short", "one two three " * 30, "x" * 400, "字" * 400])
def test_a_preview_is_cut_between_words(text: str) -> None:
    shown = _cut(text)
    head, _, tail = shown.partition(" … ")
    assert len(shown) <= 163 and text.startswith(head) and text.strip().endswith(tail.strip())
    if len(text) > 163 and " " in text:
        assert text[len(head)] == " " and text.rstrip()[-len(tail.rstrip()) - 1] == " "


def test_sentences_on_one_row_and_on_two(write_pairs: Write) -> None:
    rows = talk(60)
    rows[3]["chosen"] = " "
    rows[5]["rejected"] = rows[5]["chosen"]
    rows[8] = dict(rows[7])
    rows[9]["prompt"] += " <|im_end|>"
    rows[11]["rejected"] = "[INST] " + rows[11]["rejected"]
    result = audited(write_pairs(rows))
    sentences = {finding.code: finding.with_rows() for finding in result.findings}
    assert sentences["blank"] == "1 row has a blank chosen answer (row 3)"
    assert sentences["identical-sides"] == "1 row has the same text as chosen and rejected answer (row 5)"
    assert sentences["duplicate-pairs"] == "1 row repeats an earlier pair word for word (row 8)"
    assert sentences["chat-markup"].startswith("2 rows have markup of a chat template inside a text (<|im_end|>, [")
    assert "held-out" not in " ".join(text for code, text in sentences.items() if code != "leakage")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("result = [x for x in items if x > 3]\nfor r in result:\n    print(r)\n", None),
        ('int main(void) {\n  int a = 3;\n  printf("%d", a);\n  return 0;\n}\nreturn values[index];', None),
        ("```sql\nSELECT name FROM users WHERE age > 30 ORDER BY name, city, street, number\n```", None),
        (
            "<p>Try it:</p><pre><code>SELECT a FROM b</code></pre><p>It selects only one row of that large table.</p>",
            "en",
        ),
        ("Das ist eine Antwort auf Deutsch, die lang genug ist, um erkannt zu werden.", "de"),
    ],
)
def test_code_is_no_language(text: str, language: str | None) -> None:
    assert language_of(text) == language
