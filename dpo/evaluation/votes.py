"""People's votes between two answers: stored so that none is lost, and given back as preference pairs.

No torch here.  Each vote is one committed transaction (`dpo.database`), so votes from several browsers or
processes at once are all kept.  A vote has a key made by whoever casts it; sending it again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from dpo.counting import counted
from dpo.database import WAIT_SECONDS, Database
from dpo.errors import ConfigError, DataError, StorageError, quoted
from dpo.policies.names import DEFAULT_RUNS

Verdict = Literal["a", "b", "tie", "bad"]
VERDICTS: tuple[Verdict, ...] = ("a", "b", "tie", "bad")
DEFAULT_VOTES = DEFAULT_RUNS / "votes.sqlite"
_MOST_TEXT = 100_000
_MOST_NAME = 4096
_MOST_SETTINGS = 4 * _MOST_TEXT  # with what was said before to both
_COLUMNS = (
    "key", "created", "voter", "blind", "prompt", "policy_a", "policy_b", "text_a", "text_b", "seed_a", "seed_b",
    "temperature", "settings", "verdict",
)  # fmt: skip
_KINDS = {"blind": int, "seed_a": int, "seed_b": int, "temperature": float}  # others are texts
_SCHEMA = """
CREATE TABLE IF NOT EXISTS votes (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL,
    voter TEXT NOT NULL,
    blind INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    policy_a TEXT NOT NULL,
    policy_b TEXT NOT NULL,
    text_a TEXT NOT NULL,
    text_b TEXT NOT NULL,
    seed_a INTEGER NOT NULL,
    seed_b INTEGER NOT NULL,
    temperature REAL NOT NULL,
    settings TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('a', 'b', 'tie', 'bad'))
)
"""


@dataclass(frozen=True)
class Vote:
    """One verdict between answers A and B to one prompt.

    `settings` are the sampling settings, and `turns_a` and `turns_b`, (prompt, answer) each, where the
    answers went on from conversations; `seed_a` and `seed_b` are what each answer was drawn with.
    """

    key: str
    prompt: str
    policy_a: str
    policy_b: str
    text_a: str
    text_b: str
    verdict: Verdict
    settings: dict[str, Any] = field(default_factory=dict)
    seed_a: int = 0
    seed_b: int = 0
    temperature: float = 0.0
    voter: str = ""
    blind: bool = True
    created: str = ""

    @classmethod
    def from_values(cls, values: Any) -> Vote:
        """A vote from loosely typed values (JSON of a request).

        Raises:
            ConfigError: something is missing, of the wrong kind or too long.
        """
        if not isinstance(values, dict):
            raise ConfigError("a vote must be a JSON object")
        known = set(_COLUMNS) - {"created"}
        unknown = set(values) - known
        if unknown:
            raise ConfigError(f"a vote has no {sorted(unknown)[0]!r}: use {', '.join(sorted(known))}")
        texts: dict[str, Any] = {}
        for name, most in (("key", 64), ("prompt", _MOST_TEXT), ("policy_a", _MOST_NAME), ("policy_b", _MOST_NAME),
                           ("text_a", _MOST_TEXT), ("text_b", _MOST_TEXT)):  # fmt: skip
            value = values.get(name)
            if not isinstance(value, str) or (not value.strip() and not name.startswith("text_")):
                raise ConfigError(f"the vote's {name} is missing: give a text")
            if len(value) > most:
                raise ConfigError(f"the vote's {name} has {len(value)} characters: at most {most}")
            texts[name] = value
        verdict = values.get("verdict")
        if verdict not in VERDICTS:
            raise ConfigError(f"the verdict is {verdict!r}: it must be one of {', '.join(VERDICTS)}")
        settings = values.get("settings") or {}
        if not isinstance(settings, dict) or len(json.dumps(settings)) > _MOST_SETTINGS:
            raise ConfigError("the vote's settings must be an object of sampling settings and earlier turns")
        numbers: dict[str, Any] = {}
        for name, kind in (("seed_a", int), ("seed_b", int), ("temperature", float)):
            value = values.get(name, settings.get("seed" if kind is int else name, 0))
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
                raise ConfigError(f"the vote's {name} is {value!r}: it must be a number of 0 or more")
            numbers[name] = kind(value)
        voter = values.get("voter", "")
        return cls(
            **texts, **numbers, verdict=verdict, settings=settings,
            voter=voter[:64] if isinstance(voter, str) else "", blind=bool(values.get("blind", True)),
        )  # fmt: skip


class Votes:
    """The votes in one file, made when the first vote is cast.  Safe to share between threads.

    Args:
        wait_seconds: how long to wait for a file that another process is writing to.
    """

    def __init__(self, path: str | Path = DEFAULT_VOTES, wait_seconds: float = WAIT_SECONDS) -> None:
        self.path = Path(path)
        self._database = Database(self.path, _SCHEMA, "votes", wait_seconds)

    def add(self, vote: Vote) -> bool:
        """Store a vote; False if it was there already.

        Raises:
            StorageError: the file cannot be written.
        """
        created = vote.created or datetime.now(UTC).isoformat(timespec="milliseconds")
        row = (
            vote.key, created, vote.voter, vote.blind, vote.prompt, vote.policy_a, vote.policy_b, vote.text_a,
            vote.text_b, vote.seed_a, vote.seed_b, vote.temperature,
            json.dumps(vote.settings, sort_keys=True), vote.verdict,
        )  # fmt: skip
        marks = ", ".join("?" * len(_COLUMNS))
        with self._database.open(write=True) as database, database:
            made = database.execute(
                f"INSERT INTO votes ({', '.join(_COLUMNS)}) VALUES ({marks}) ON CONFLICT (key) DO NOTHING", row
            )
            return made.rowcount == 1

    def withdraw(self, key: str, voter: str) -> bool:
        """Take a vote back; False if this voter has cast none of that key.

        Raises:
            StorageError: the file cannot be written.
        """
        if not voter or not self.path.exists():
            return False
        with self._database.open(write=True) as database, database:
            gone = database.execute("DELETE FROM votes WHERE key = ? AND voter = ?", (key, voter))
            return gone.rowcount == 1

    def all(self) -> list[Vote]:
        """Every vote in the order in which they were cast.

        Raises:
            StorageError: the file cannot be read.
        """
        if not self._database.exists():
            return []
        with self._database.open(write=False) as database:
            if not self._database.has(database, "votes"):
                return []  # somebody is casting the very first vote now
            rows = database.execute(f"SELECT {', '.join(_COLUMNS)} FROM votes ORDER BY id").fetchall()
            return [_stored(row) for row in rows]

    def signature(self) -> str:
        """Changes with every vote, without reading any."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return "-".join(f"{file.stat().st_mtime_ns}.{file.stat().st_size}" for file in files if file.exists())


def _stored(row: tuple[Any, ...]) -> Vote:
    """The vote of a row.

    Raises:
        ValueError: it is not one that was written: the file is damaged, which SQLite does not see within texts.
    """
    values = dict(zip(_COLUMNS, row, strict=True))
    for name, value in values.items():
        if not isinstance(value, _KINDS.get(name, str)):
            raise ValueError(f"{name} of a vote is {quoted(value)}")
    settings = json.loads(values["settings"])
    if not isinstance(settings, dict) or values["verdict"] not in VERDICTS:
        raise ValueError(f"a vote has the verdict {quoted(values['verdict'])} and settings {quoted(settings)}")
    return Vote(**values | {"blind": bool(values["blind"]), "settings": settings})


def preference_pairs(votes: Sequence[Vote]) -> tuple[list[dict[str, str]], dict[str, int]]:
    """Votes as rows of the Human-Like layout (`prompt`, `chosen`, `rejected`), and what was left out and why.

    A tie or "both bad" prefers nothing; an empty answer or two equal ones teach nothing; answers that go on
    from conversations of their own have no prompt in common.
    """
    pairs = []
    left_out = {"without a winner": 0, "with an empty answer": 0, "with equal answers": 0, "within a conversation": 0}
    for vote in votes:
        if vote.verdict not in ("a", "b"):
            left_out["without a winner"] += 1
        elif not vote.text_a.strip() or not vote.text_b.strip():
            left_out["with an empty answer"] += 1
        elif vote.text_a.strip() == vote.text_b.strip():
            left_out["with equal answers"] += 1
        elif "turns_a" in vote.settings:
            left_out["within a conversation"] += 1
        else:
            texts = (vote.text_a, vote.text_b) if vote.verdict == "a" else (vote.text_b, vote.text_a)
            pairs.append({"prompt": vote.prompt, "chosen": texts[0], "rejected": texts[1]})
    return pairs, {reason: count for reason, count in left_out.items() if count}


def export_pairs(votes: Sequence[Vote], target: str | Path) -> tuple[int, dict[str, int]]:
    """Write the votes' preference pairs as JSON lines; how many, and what was left out.

    Raises:
        DataError: no vote prefers an answer.
        StorageError: the file cannot be written.
    """
    pairs, left_out = preference_pairs(votes)
    if not pairs:
        given = counted(len(votes), "vote")
        raise DataError(f"None of {given} prefers an answer: vote A or B on the Compare page first")
    path = Path(target)
    lines = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror or error}): name another file") from error
    return len(pairs), left_out
