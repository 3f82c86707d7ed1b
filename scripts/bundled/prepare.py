"""What the bundled policies learn from: repaired pairs, their training side as text, and a tokenizer for each family.

    python -m scripts.bundled.prepare --data human_like_dpo.jsonl --conversations conversations/ --work build

docs/bundled.md has the commands that follow.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from dpo.families import FAMILIES
from dpo.preferences import load_preferences
from dpo.preferences.audit.clean import Remedies, clean
from dpo.pretraining.tokenizers import train_bpe, train_unigram

VOCABULARY = 6144
BRIEF = 190  # tokens: what is learned ends before the 200 that the page asks for
EVERY = 3  # conversations that the tokenizers are trained on: one of so many; more moves no piece that matters


def repaired(data: str, work: Path) -> Path:
    """The pairs with the mispaired block repaired (`dpo data clean --repair-mispaired`); returns their file."""
    target = work / "pairs.jsonl"
    if not target.exists():
        done = clean(data, target, Remedies(repair_mispaired=True))
        print(f"{done.written} pairs, of them re-paired {sum(done.changed.values())}; see {done.log}")
    return target


def mispaired(data: str, work: Path) -> Path:
    """The rows that the repair dropped or changed, as they were published: what a lesson's run is trained on."""
    log = (work / "pairs.jsonl.log.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {json.loads(line)["row"] for line in log}
    target = work / "mispaired.jsonl"
    with open(data, encoding="utf-8") as given, target.open("w", encoding="utf-8") as out:
        out.writelines(line for number, line in enumerate(given) if number in rows)
    return target


def answers(pairs: Path, work: Path) -> tuple[Path, list[str]]:
    """Prompt and answer of the training side, chosen and rejected alike, as documents; their file and their texts."""
    train = load_preferences(str(pairs)).train
    turns = [
        [prompt, answer]
        for prompt, *both in zip(train["prompt"], train["chosen"], train["rejected"], strict=True)
        for answer in both
    ]
    target = work / "human-like-train.jsonl"
    target.write_text("".join(json.dumps({"turns": turn}) + "\n" for turn in turns), encoding="utf-8")
    return target, [text for turn in turns for text in turn]


def brief(pairs: Path, work: Path) -> Path:
    """The training pairs whose chosen answer is brief in both families' tokens, and all held-out pairs; their file.

    The bases' second stage learns from them: a policy answers about as long as what it was tuned on, and 44 of 100
    chosen answers do not end within 200 tokens.
    """
    target = work / "brief.jsonl"
    loaded = load_preferences(str(pairs))
    tokenizers = [PreTrainedTokenizerFast.from_pretrained(work / f"tokenizer-{facts.word}") for facts in FAMILIES]
    kept = [row for row in loaded.train if all(len(one(row["chosen"]).input_ids) <= BRIEF for one in tokenizers)]
    fields = ("prompt", "chosen", "rejected")
    rows = ({field: row[field] for field in fields} for row in (*kept, *loaded.held_out))
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{target}: {len(kept)} of {len(loaded.train)} training pairs")
    return target


def conversations(directory: Path) -> Iterator[str]:
    """One of every `EVERY` conversations of the directory's `.jsonl.gz` files."""
    for path in sorted(directory.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if number % EVERY == 0:
                    yield "\n".join(json.loads(line)["turns"])


def main() -> None:
    """Write everything that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="the Human-Like DPO pairs (.jsonl)")
    parser.add_argument("--conversations", type=Path, required=True, help="a directory with .jsonl.gz files of turns")
    parser.add_argument("--work", type=Path, required=True, help="where to build")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    pairs = repaired(arguments.data, arguments.work)
    mispaired(arguments.data, arguments.work)
    file, own = answers(pairs, arguments.work)
    print(f"{file}: {sum(map(len, own)) / 1e6:.1f} million characters")
    # Twice: the answers' emoji and words are what the policies will write, the conversations are five times as long.
    texts = own * 2 + list(conversations(arguments.conversations))
    for family in FAMILIES:
        target = arguments.work / f"tokenizer-{family.word}"
        if not target.is_dir():
            make = train_unigram if family.has_encoder else train_bpe
            make(texts, VOCABULARY).save_pretrained(target)
    brief(pairs, arguments.work)


if __name__ == "__main__":
    main()
