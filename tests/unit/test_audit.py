"""The audit finds faults that were put in, and none that were not; cleaning puts them right."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from talks import Write, audited, found, shuffled, talk
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from dpo.cli import main
from dpo.errors import DataError
from dpo.preferences.audit import Audit, TokenLimits, Vocabulary, audit
from dpo.preferences.audit.result import ranges
from dpo.preferences.audit.surface import private_in
from dpo.preferences.normalise import normalise


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_block_in_clean_data(seed: int, write_pairs: Write) -> None:
    result = audited(write_pairs(talk(1200, seed)))
    assert not found(result, "mispaired")
    assert result.measures["power"] > 0.8


@pytest.mark.parametrize("side", ["rejected", "chosen", "prompt"])
def test_a_shuffled_block_is_found_where_it_is(side: str, write_pairs: Write) -> None:
    result = audited(write_pairs(shuffled(talk(1500), 500, 900, side)))
    [finding] = found(result, "mispaired")
    [(first, last)] = finding.rows
    assert abs(first - 500) <= 50
    assert abs(last - 900) <= 50
    assert finding.evidence["side"] == side
    assert finding.severity == "fault"


def test_answers_that_say_nothing_of_their_prompt_are_no_block(write_pairs: Write) -> None:
    rng = random.Random(0)
    rows = [
        {side: " ".join(rng.choices([f"w{n}" for n in range(300)], k=12)) for side in ("prompt", "chosen", "rejected")}
        for _ in range(600)
    ]
    result = audited(write_pairs(rows))
    assert not found(result, "mispaired")
    assert found(result, "pairing-unknown")


def test_emoji_shortcut_with_its_held_out_accuracy(write_pairs: Write) -> None:
    result = audited(write_pairs(talk(1000, emoji=True)), reward_accuracy=0.97)
    [finding] = found(result, "shortcut-emoji")
    assert finding.evidence["accuracy"] == pytest.approx(0.98, abs=0.015)
    assert finding.evidence["reward_accuracy"] == 0.97
    assert finding.remedy == "--strip-shortcut emoji"
    rules = result.measures["shortcuts"]
    assert 0.4 < rules["length"]["accuracy"] < 0.6
    assert 0.35 < audited(write_pairs(talk(1000))).measures["shortcuts"]["bag of words"]["accuracy"] < 0.65


def test_duplicates_and_leakage(write_pairs: Write) -> None:
    rows = talk(400)
    extra = [dict(rows[3]), rows[5] | {"chosen": rows[5]["chosen"].capitalize() + "!", "rejected": rows[5]["rejected"]}]
    result = audited(write_pairs([*rows, *extra, rows[7] | {"chosen": "a wholly different answer to it"}]))
    assert found(result, "duplicate-pairs")[0].rows == ((400, 400),)
    assert found(result, "near-duplicate-pairs")[0].rows == ((401, 401),)
    assert found(result, "repeated-prompts")[0].count == 3
    # Every prompt twice, once in capitals: the hash of the prompt puts many of them on two sides.
    twice = [row | {"prompt": text} for row in rows for text in (row["prompt"], row["prompt"].upper())]
    leaking = found(audited(write_pairs(twice), eval_fraction=0.3), "leakage")[0]
    assert leaking.count > 50
    assert leaking.remedy == "--drop-leaking"


def test_swapped_block(write_pairs: Write) -> None:
    rows = [
        row | {"chosen": "kind warm gentle " + row["chosen"], "rejected": "stern cold harsh " + row["rejected"]}
        for row in talk(1000)
    ]
    assert not found(audited(write_pairs(rows)), "swapped-block")
    for row in rows[300:401]:
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    [finding] = found(audited(write_pairs(rows)), "swapped-block")
    assert abs(finding.rows[0][0] - 300) <= 10
    assert abs(finding.rows[0][1] - 400) <= 10


def test_a_look_at_the_head_reads_no_more(write_pairs: Write) -> None:
    path = write_pairs(talk(3200))
    with path.open("a") as file:
        file.write("{broken\n")  # never reached
    head = normalise(str(path), head=1500)
    assert (head.rows, head.whole) == (2048, False)
    assert audit(head).scope() == "the first 2,048 pairs"
    whole = normalise(str(write_pairs(talk(100), "small.jsonl")), head=1500)
    assert (whole.rows, whole.whole) == (100, True)
    assert audit(whole).scope() == "100 pairs"
    assert audit(normalise(str(write_pairs(talk(1), "one.jsonl")))).scope() == "1 pair"


def test_of_very_many_pairs_a_sample_is_audited(write_pairs: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpo.preferences.audit.pipeline.MOST_PAIRS", 900)
    result = audited(write_pairs(shuffled(talk(1500), 500, 900, "rejected")))
    assert (result.rows, result.pairs, result.scope()) == (1500, 900, "900 of 1,500 pairs")
    [(first, last)] = found(result, "mispaired")[0].rows  # rows of the source, not of the sample
    assert abs(first - 500) <= 50 and abs(last - 900) <= 50


def test_unusable_rows_are_told_with_their_numbers(write_pairs: Write) -> None:
    rows = talk(100)
    rows[10]["rejected"] = rows[10]["chosen"]
    rows[20]["chosen"] = "  "
    result = audited(write_pairs(rows))
    assert found(result, "identical-sides")[0].rows == ((10, 10),)
    assert found(result, "blank")[0].rows == ((20, 20),)
    assert (result.rows, result.pairs) == (100, 98)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to jane.doe@corp.org now", {"e-mail address"}),
        ("call (212) 664-7665", {"phone number"}),
        ("card 4539 1488 0343 6467", {"card number"}),
        ("card 4539 1488 0343 6468, host 10.0.0.1, a@example.com, version 1.2.3.4444", set()),
        ("key sk-abcdefghijklmnopqrstuvwx1234", {"access token"}),
        ("-----BEGIN RSA PRIVATE KEY-----", {"private key"}),
        ("in 2024-01-02 we counted 1,234,567", set()),
    ],
)
def test_personal_data_and_secrets(text: str, kinds: set[str], write_pairs: Write) -> None:
    assert private_in(text) == kinds
    rows = talk(60)
    rows[7]["chosen"] += " " + text
    result = audited(write_pairs(rows))
    told = {f.evidence["kind"] for f in result.findings if f.code in ("personal-data", "secret")}
    assert told == kinds
    assert all(f.rows == ((7, 7),) for f in result.findings if f.code in ("personal-data", "secret"))


def bytes_vocabulary() -> Tokenizer:
    """One token a byte: loses nothing."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(sorted(letters))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def words_vocabulary(texts: list[str]) -> Tokenizer:
    """One token a word, `<unk>` for what is no word."""
    words = sorted({word for text in texts for word in text.split() if word.isascii()})
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["<unk>", *words])}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def test_tokens_of_a_vocabulary(write_pairs: Write) -> None:
    rows = talk(300, emoji=True)
    lossy = words_vocabulary([text for row in rows for text in row.values()])
    vocabulary = Vocabulary("lossy", lossy, 0, bytes_vocabulary(), None)
    result = audited(write_pairs(rows), vocabulary, limits=TokenLimits(10_000, 150))
    tokens = result.measures["models"]["lossy"]
    with_emoji = np.mean(["😀" in row["chosen"] for row in rows])
    assert tokens["chosen"]["with_unk_published"] == pytest.approx(with_emoji, abs=1e-4)
    assert tokens["rejected"]["with_unk_published"] == 0
    assert tokens["chosen"]["with_unk_lossless"] == 0
    assert tokens["lost_lossless"] == 0
    assert tokens["lost_published"] > 0
    longest = max(len(row["rejected"].encode()) + 1 for row in rows)
    assert tokens["rejected"]["tokens"]["max"] == longest
    over = np.mean([len(row["rejected"].encode()) + 1 > 150 for row in rows])
    assert tokens["rejected"]["over_limit"] == pytest.approx(over, abs=1e-4)
    assert found(result, "unk")[0].severity == "fault"
    assert found(result, "truncated")
    assert found(result, "shortcut-unk")[0].evidence["accuracy"] > 0.95


def test_json_round_trip(write_pairs: Write, tmp_path: Path) -> None:
    result = audited(write_pairs(shuffled(talk(600), 100, 300, "rejected")))
    assert Audit.from_json(result.to_json()) == Audit.from_json(Audit.from_json(result.to_json()).to_json())
    assert Audit.from_json(result.to_json()).findings[0].rows == result.findings[0].rows
    assert result.worst() == "fault"
    result.save(tmp_path / "audit.json")
    assert Audit.from_json((tmp_path / "audit.json").read_text(encoding="utf-8")).source == result.source
    earlier = result.to_json().replace('"severity": "fault"', '"severity": "high"')
    assert '"high"' in earlier and Audit.from_json(earlier) == Audit.from_json(result.to_json())
    for text in ("{}", "[]", "nonsense", earlier.replace('"high"', '"dire"')):
        with pytest.raises(DataError, match="no audit"):
            Audit.from_json(text)


def test_ranges() -> None:
    assert ranges([5, 1, 2, 2, 3, 9]) == ((1, 3), (5, 5), (9, 9))
    assert len(ranges(range(0, 10_000, 2))) == 500


def test_a_row_of_ten_megabytes_is_audited(write_pairs: Write) -> None:
    rows = talk(100)
    rows[40]["rejected"] = "so it goes on " * 750_000
    result = audited(write_pairs(rows), Vocabulary("bytes", bytes_vocabulary(), None, bytes_vocabulary(), None))
    assert result.pairs == 100
    assert result.measures["characters"]["rejected"]["max"] == 10_500_000


def test_commands(write_pairs: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write_pairs(shuffled(talk(600), 100, 300, "rejected")))
    assert main(["data", "show", source]) == 0
    shown = capsys.readouterr().out
    assert "Layout      prompt, chosen, rejected" in shown
    assert shown.count("\nRow ") == 3
    target = tmp_path / "audit.json"
    assert main(["data", "audit", source, "--model", "demo/gpt2", "--json", str(target)]) == 0
    report = capsys.readouterr().out
    assert "!! mispaired: Rows" in report
    assert re.search(r"^  dpo data clean \S*pairs.jsonl --output pairs-cleaned\S* --repair-mispaired", report, re.M)
    result = Audit.from_json(target.read_text(encoding="utf-8"))
    assert result.measures["models"]["demo/gpt2"]["chosen"]["with_unk_published"] == 0
    output = tmp_path / "clean.jsonl"
    assert main(["data", "clean", source, "--output", str(output), "--repair-mispaired"]) == 0
    assert "re-paired" in capsys.readouterr().out
    assert main(["data", "clean", source, "--output", str(tmp_path / "x.jsonl")]) == 2
    assert "needs a remedy" in capsys.readouterr().err
    assert main(["data", "audit", "/nowhere.jsonl"]) == 2
    assert main(["data", "audit", source, "--eval-fraction", "2"]) == 2
    assert main(["data", "audit", source, "--model", "no/such/policy"]) == 2


def test_human_like(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dpo.policies.vocabulary import DIRECTORY, load_vocabulary

    monkeypatch.setenv(DIRECTORY, str(shared / "tokenizers"))
    data = normalise(str(shared / "data" / "human-like" / "human_like_dpo.jsonl"))
    monkeypatch.setattr("dpo.preferences.audit.tokens.MOST_PAIRS", 1000)
    result = audit(data, [load_vocabulary("t5"), load_vocabulary("gpt2")])
    [block] = found(result, "mispaired")
    [(first, last)] = block.rows
    assert first <= 50
    assert abs(last - 1380) <= 50
    assert found(result, "shortcut-emoji")[0].evidence["accuracy"] == pytest.approx(0.98, abs=0.01)
    [unk] = found(result, "unk")
    assert unk.evidence["model"] == "t5"
    assert unk.evidence["chosen"] > 0.9
    assert unk.evidence["rejected"] < 0.01
    assert found(result, "repeated-prompts")[0].evidence["unique"] == 4751


def test_vocabularies_without_weights(
    policy_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpo.errors import PolicyError
    from dpo.policies.vocabulary import DIRECTORY, load_vocabulary

    whole = load_vocabulary("demo/t5")
    assert whole.lossless is whole.published
    # A directory with a tokenizer and no model, by its path and by the name of the model it belongs to.
    bare = tmp_path / "t5-small"
    bare.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).write_bytes((policy_dirs["t5"] / name).read_bytes())
    expected = load_vocabulary(str(policy_dirs["t5"])).published.get_vocab()
    assert load_vocabulary(str(bare)).published.get_vocab() == expected
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    assert load_vocabulary("t5").published.get_vocab() == expected
    with pytest.raises(PolicyError, match="gpt2 .openai-community/gpt2. is not in the .*=DIR where DIR/gpt2/"):
        load_vocabulary("gpt2")


def test_an_audit_goes_on_without_a_vocabulary(write_pairs: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "audit", str(write_pairs(talk(200))), "--model", "t5"]) == 0
    told = capsys.readouterr()
    assert "tokens are left out: The tokenizer of t5" in told.err
    assert "200 rows" in told.out
