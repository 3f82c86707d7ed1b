"""Text to batches: nothing lost, nothing doubled, the same batch for the same number."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from tiny import tiny

from dpo.errors import DataError
from dpo.policies.loading import Policy
from dpo.policies.text import decode_ids
from dpo.pretraining.batches import POOL, Lengths, PretrainingBatches, rows_of, split_text
from dpo.pretraining.documents import read_corpus, read_documents

TALKS = [[f"Question {i}, what is it?", f"It is number {i}.", "Really?", "Yes!"] for i in range(300)]


@pytest.fixture(params=("gpt2", "t5"))
def policy(request: pytest.FixtureRequest) -> Policy:
    return tiny(request.param)


def test_every_form_of_text_is_read(tmp_path: Path) -> None:
    rows = [{"turns": ["a", "b"]}, {"messages": [{"role": "user", "content": "c"}, {"content": "d"}]}, {"text": "e"}]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines)
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.write(lines)
    (tmp_path / "plain.txt").write_text("One text\nof two lines.\n\n\nAnother.\n")
    for name in ("rows.jsonl", "rows.jsonl.gz"):
        assert list(read_documents(tmp_path / name)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(read_documents(tmp_path / "plain.txt")) == [["One text\nof two lines."], ["Another."]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.txt", None, "cannot be read"),
        ("torn.jsonl", b'{"text": "a"}\n{"text": ', "line 2 is not JSON"),
        ("other.jsonl", b'{"prompt": "a"}\n', "line 1 is in no known form"),
        ("deep.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("latin.txt", "caf\xe9".encode("latin-1"), "not UTF-8"),
        ("torn.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 1000, mtime=0)[:-20], "cannot be read"),
        ("empty.txt", b"\n\n", "no documents"),
    ],
)
def test_bad_text_is_one_clear_line(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        read_corpus([tmp_path / name], 0.1)
    assert "\n" not in str(error.value)


def test_documents_are_held_out_by_their_text(tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    path.write_text("\n".join(json.dumps({"turns": turns}) for turns in TALKS))
    corpus, again = read_corpus([path], 0.1), read_corpus([path], 0.1)
    assert corpus == again
    assert 15 < len(corpus.held_out) < 50
    assert not {str(document) for document in corpus.train} & {str(document) for document in corpus.held_out}
    assert len(corpus.train) + len(corpus.held_out) == len(TALKS)


def test_a_batch_is_the_same_whenever_it_is_made(policy: Policy) -> None:
    def made() -> PretrainingBatches:
        return PretrainingBatches(policy, TALKS, Lengths(256, 64, 48), 3 * POOL, seed=1)

    first, second = made(), made()
    order = [2 * POOL + 5, 0, POOL, 3]
    kept = {number: first[number] for number in range(3 * POOL)}
    for number in order:
        batch = second[number]
        assert batch.keys() == kept[number].keys()
        assert all(batch[name].equal(kept[number][name]) for name in batch)


def test_a_pass_reads_every_document_once(policy: Policy) -> None:
    batches = PretrainingBatches(policy, TALKS, Lengths(256, 64, 48), POOL, seed=1)
    pools = -(-2 * len(TALKS) // batches.per_pool)
    drawn = [document[0] for number in range(pools) for document in batches._drawn(number)]
    assert Counter(drawn[: len(TALKS)]) == Counter(document[0] for document in TALKS)
    assert drawn[: len(TALKS)] != drawn[len(TALKS) : 2 * len(TALKS)]


def test_batches_have_about_the_size_asked_for(policy: Policy) -> None:
    batches = PretrainingBatches(policy, TALKS, Lengths(512, 64, 48), 4 * POOL, seed=0)
    seen = [int(batches[number]["tokens"]) for number in range(4 * POOL)]
    assert 0.85 * 512 < sum(seen) / len(seen) < 1.15 * 512
    made = [batches[number] for number in range(POOL)]
    padded = sum(batch[name].numel() for batch in made for name in batch if name.endswith("_ids"))
    assert sum(seen[:POOL]) > 0.7 * padded


def test_what_is_learned_is_the_text(policy: Policy) -> None:
    batches = PretrainingBatches(policy, TALKS, Lengths(512, 64, 48), POOL, seed=0)
    texts = "\n".join(["\n".join(turns) for turns in TALKS])
    for number in range(POOL):
        batch = batches[number]
        learned = batch["input_ids"][0][batch["completion_mask"][0].bool()].tolist()
        pieces, piece = [], []
        for token in learned:
            if token == policy.tokenizer.eos_token_id:
                pieces.append(piece)
                piece = []
            else:
                piece.append(token)
        for ids in pieces:
            assert decode_ids(policy.tokenizer, ids) in texts


def test_a_talk_is_learned_whole_or_turn_by_turn(policy: Policy) -> None:
    generator = random.Random(0)
    made = [rows_of(TALKS[0], policy.family, generator) for _ in range(60)]
    assert {len(rows) for rows in made} == {1, 2}
    for rows in made:
        for read, learned in rows:
            text = f"{read}\n{learned}" if read else learned
            assert text in "\n".join(TALKS[0])


def test_a_text_of_one_turn_is_cut_between_words() -> None:
    assert split_text("one two three", 0.4) == ("one two", "three")
    assert split_text("word", 0.5) == ("", "word")


def test_a_text_shorter_than_a_batch_is_seen_again(policy: Policy) -> None:
    batches = PretrainingBatches(policy, [["Hi there."]], Lengths(256, 64, 48), POOL, seed=0)
    assert all(batches[number]["input_ids"].numel() > 0 for number in range(POOL))
