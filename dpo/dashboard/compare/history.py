"""What somebody has asked on the Compare page: kept on disk for that person alone, searched, brought back, deleted.

A comparison has a key of its own, made by the tab that asked, so tabs of one person do not overwrite each other; one
that goes on (another answer in one pane) takes the place of its own former state.  What is kept is what the page sent:
the server reads its texts for the search, the rest is opaque to it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
from dash import html
from flask import Flask, Response, jsonify, request

from dpo.dashboard.components import box, icon
from dpo.dashboard.web import reading
from dpo.dashboard.web.streams import owner
from dpo.dashboard.workbench import Workbench
from dpo.database import Database
from dpo.errors import ConfigError, TooLargeError
from dpo.generation.settings import PLAIN

MOST_EACH = 200
"""Comparisons of one person; the oldest go."""
MOST_RECORD = 1024 * 1024
"""Bytes of one, as JSON."""
MOST_BYTES = 256 * 1024 * 1024
"""Of all people together; the oldest go."""
_WAIT_SECONDS = 2.0  # a page waits with a thread of the server
_MOST_SUMMARY, _MOST_SEARCH = 300, 200
_SCHEMA = """
CREATE TABLE IF NOT EXISTS comparisons (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    created TEXT NOT NULL,
    prompt TEXT NOT NULL,
    summary TEXT NOT NULL,
    words TEXT NOT NULL,
    record TEXT NOT NULL,
    size INTEGER NOT NULL,
    UNIQUE (owner, key)
)
"""


class History:
    """The comparisons of everybody in one file.

    Args:
        path: of the file, which is made when the first one is kept.
        most_each: comparisons that are kept of one person.
        most_bytes: that are kept of everybody together.
    """

    def __init__(self, path: Path, most_each: int = MOST_EACH, most_bytes: int = MOST_BYTES) -> None:
        self._database = Database(path, _SCHEMA, "history of Compare", _WAIT_SECONDS, private=True)
        self._most_each, self._most_bytes = most_each, most_bytes

    def keep(self, person: str, key: str, prompt: str, summary: str, record: Mapping[str, Any]) -> None:
        """Store a comparison, in the place of the same one as it was before.

        Raises:
            TooLargeError: its record is over `MOST_RECORD`.
            StorageError: the file cannot be written.
        """
        text = json.dumps(record, ensure_ascii=False)
        size = len(text.encode())
        if size > MOST_RECORD:
            raise TooLargeError(f"This comparison is over {MOST_RECORD // 1024} KiB: it is not kept in the history")
        words = "\n".join([prompt, summary, *_texts(record.get("samples"))]).casefold()
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._database.open(write=True) as database, database:
            database.execute("PRAGMA secure_delete = ON")
            database.execute(
                "INSERT INTO comparisons (owner, key, created, prompt, summary, words, record, size) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (owner, key) DO UPDATE SET prompt = excluded.prompt, "
                "summary = excluded.summary, words = excluded.words, record = excluded.record, size = excluded.size",
                (person, key, created, prompt, summary, words, text, size),
            )
            self._bound(database, person)

    def _bound(self, database: sqlite3.Connection, person: str) -> None:
        database.execute(
            "DELETE FROM comparisons WHERE owner = ?1 AND id NOT IN "
            "(SELECT id FROM comparisons WHERE owner = ?1 ORDER BY id DESC LIMIT ?2)",
            (person, self._most_each),
        )
        database.execute(
            "DELETE FROM comparisons WHERE id IN (SELECT id FROM "
            "(SELECT id, sum(size) OVER (ORDER BY id DESC) AS so_far FROM comparisons) WHERE so_far > ?)",
            (self._most_bytes,),
        )

    def find(self, person: str, words: str = "") -> list[dict[str, str]]:
        """Key, time, prompt and summary of a person's comparisons, newest first: those that hold all of `words`.

        Raises:
            StorageError: the file cannot be read.
        """
        wanted = words.casefold().split()
        matches = "".join(" AND instr(words, ?) > 0" for _ in wanted)
        rows = self._rows(
            f"SELECT key, created, prompt, summary FROM comparisons WHERE owner = ?{matches} ORDER BY id DESC",
            (person, *wanted),
        )
        return [dict(zip(("key", "created", "prompt", "summary"), row, strict=True)) for row in rows]

    def one(self, person: str, key: str) -> dict[str, Any] | None:
        """A comparison as the page sent it, and when it was first kept; None if this person has none of that key.

        Of a setting that had no field on the page then, it has the value that was drawn with.

        Raises:
            StorageError: the file cannot be read.
        """
        rows = self._rows("SELECT json(record), created FROM comparisons WHERE owner = ? AND key = ?", (person, key))
        if not rows:
            return None
        record = json.loads(rows[0][0])
        if isinstance(request := record.get("request"), dict):
            record["request"] = {"repetition_penalty": PLAIN.repetition_penalty} | request
        return {**record, "created": rows[0][1]}

    def forget(self, person: str, key: str | None = None) -> int:
        """Delete one of a person's comparisons, or all of them; how many are gone.

        Raises:
            StorageError: the file cannot be written.
        """
        with self._database.open(write=True) as database, database:
            database.execute("PRAGMA secure_delete = ON")
            return database.execute(
                "DELETE FROM comparisons WHERE owner = ?1 AND (?2 IS NULL OR key = ?2)", (person, key)
            ).rowcount

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if not self._database.exists():
            return []
        with self._database.open(write=False) as database:
            if not self._database.has(database, "comparisons"):
                return []
            rows = database.execute(query, values).fetchall()
            if not all(isinstance(value, str) for row in rows for value in row):
                raise ValueError("a row of it is not what was written")
            return rows


def menu() -> html.Details:
    """The list, which `assets/js/compare/history.js` fills when it is opened."""
    search = dmc.TextInput(
        id="cmp-history-search", value="", size="xs", placeholder="Search prompts, answers and policies",
        **{"aria-label": "Search the history"},
    )  # fmt: skip
    return html.Details(
        [
            html.Summary(["History ", icon("chevron-d", 14)], className="ex", id="cmp-history-open"),
            box(
                search,
                html.Div(id="cmp-history", className="history-list", role="list"),
                html.P("", id="cmp-history-note", className="sub", role="status"),
                html.Button("Delete all", type="button", id="cmp-history-clear", hidden=True),
                cls="menu history",
            ),
        ],
        className="menu-box",
        id="cmp-history-box",
    )


def register(server: Flask, workbench: Workbench) -> None:
    """Add the routes under `/api/history`; whoever has neither a name nor the browser's cookie has no history."""
    history = History(workbench.votes.path.with_name("history.sqlite"))

    @server.get("/api/history")
    def find_compared() -> Response:
        """The comparisons that hold the words `q`."""
        person = owner()
        found = history.find(person, request.args.get("q", "")[:_MOST_SEARCH]) if person else []
        return jsonify({"found": found, "most": MOST_EACH})

    @server.get("/api/history/one")
    def compared() -> Response:
        """The comparison `key`; null where there is none, as for a link from somebody else."""
        person = owner()
        return jsonify(history.one(person, request.args.get("key", "")[:64]) if person else None)

    @server.post("/api/history")
    def keep_compared() -> Response:
        """Keep a comparison."""
        body, person = reading.body(), owner()
        key, prompt, record = reading.text(body, "key"), reading.text(body, "prompt"), body.get("record")
        summary = body.get("summary", "")
        if len(key) > 64 or not isinstance(record, dict) or not isinstance(summary, str):
            raise ConfigError("a comparison needs a key of at most 64 letters, a record and a summary: reload the page")
        if person:
            history.keep(person, key, prompt, summary[:_MOST_SUMMARY], record)
        return jsonify({"kept": person is not None})

    @server.post("/api/history/forget")
    def forget_compared() -> Response:
        """Delete the comparison `key`; all of them where `all` is true."""
        body, person = reading.body(), owner()
        key = None if body.get("all") is True else reading.text(body, "key")
        return jsonify({"deleted": history.forget(person, key) if person else 0})


def _texts(value: Any) -> Iterator[str]:
    """The answers among the samples by pane, whatever else stands there."""
    for samples in value if isinstance(value, list) else []:
        for sample in samples if isinstance(samples, list) else []:
            if isinstance(sample, dict) and isinstance(sample.get("text"), str):
                yield sample["text"]
