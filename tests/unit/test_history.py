"""What Compare keeps of what was asked: on disk, for each person alone, bounded, searched, deleted."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from dpo.dashboard.application import create_app
from dpo.dashboard.compare.history import MOST_RECORD, History
from dpo.dashboard.web.access import Access
from dpo.dashboard.web.accounts import Accounts, Role, add
from dpo.errors import StorageError, TooLargeError

Client = Callable[[str | None], FlaskClient]


def record(text: str = "Yes, I do.") -> dict[str, Any]:
    return {"first": "Tea?", "samples": [[{"text": text}], [], "odd", [None]], "panes": [0]}


def entry(key: str, text: str = "Yes, I do.", prompt: str = "Tea?") -> dict[str, Any]:
    return {"key": key, "prompt": prompt, "summary": "T5, GPT-2 · seed 3", "record": record(text)}


@pytest.fixture
def browser(tmp_path: Path) -> Client:
    """A client of a new app over the same files, with a browser's cookie."""

    def make(cookie: str | None) -> FlaskClient:
        client = create_app([tmp_path], votes=tmp_path / "votes.sqlite").server.test_client()
        if cookie:
            client.set_cookie("dpo_viewer", cookie)
        return client

    return make


def keys(client: FlaskClient, words: str = "") -> list[str]:
    return [found["key"] for found in client.get("/api/history", query_string={"q": words}).get_json()["found"]]


def test_it_outlives_the_server_and_is_one_browsers_alone(browser: Client, tmp_path: Path) -> None:
    ann, tab, other, nobody = browser("ann"), browser("ann"), browser("other"), browser(None)
    assert ann.post("/api/history", json=entry("1")).get_json() == {"kept": True}
    # Two tabs, here even two servers: neither takes the other's place; one that goes on takes its own.
    tab.post("/api/history", json=entry("2", "A cup of GREEN tea."))
    ann.post("/api/history", json=entry("1", "Another answer."))
    assert keys(ann) == keys(tab) == keys(browser("ann")) == ["2", "1"]
    assert ann.get("/api/history/one?key=1").get_json()["samples"][0] == [{"text": "Another answer."}]
    # The answers are searched too, in any order of the words and any case.
    assert keys(ann, "green t5") == ["2"] and keys(ann, "Tea?") == ["2", "1"] and keys(ann, "100%") == []
    # Another browser sees nothing of it, nor can it delete it; one without a cookie has no history.
    assert keys(other) == keys(nobody) == []
    assert other.get("/api/history/one?key=1").get_json() is None
    assert other.post("/api/history/forget", json={"all": True}).get_json() == {"deleted": 0}
    assert nobody.post("/api/history", json=entry("3")).get_json() == {"kept": False}
    assert keys(ann) == ["2", "1"]
    assert ann.post("/api/history/forget", json={"key": "2"}).get_json() == {"deleted": 1}
    assert ann.post("/api/history/forget", json={"all": True}).get_json() == {"deleted": 1}
    assert keys(ann) == []
    file = tmp_path / "history.sqlite"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # What was deleted is gone from the file as well.
    assert not any(b"GREEN" in part.read_bytes() for part in tmp_path.glob("history.sqlite"))


def test_with_accounts_it_is_a_persons_own_on_every_machine(browser: Client, tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    for name in ("ann", "ben"):
        add(users, name, Role.GENERATE, f"password of {name}")

    def signed_in(name: str) -> FlaskClient:
        access = Access(accounts=Accounts(users))
        client = create_app([tmp_path], access, votes=tmp_path / "votes.sqlite").server.test_client()
        client.post("/login", data={"name": name, "password": f"password of {name}"})
        return client

    signed_in("ann").post("/api/history", json=entry("1"))
    assert keys(signed_in("ann")) == ["1"] and keys(signed_in("ben")) == []
    assert keys(browser("user ann")) == []  # a name in a cookie is nobody


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"prompt": "Tea?", "record": {}}, 400),
        (entry("x" * 65), 400),
        (entry("1") | {"record": []}, 400),
        (entry("1") | {"summary": 3}, 400),
        ([], 400),
        (entry("1", "x" * MOST_RECORD), 413),
    ],
)
def test_what_no_page_sends_is_refused(browser: Client, body: Any, status: int) -> None:
    answer = browser("ann").post("/api/history", json=body)
    assert answer.status_code == status and answer.get_json()["error"]


def test_what_was_asked_before_the_penalty_had_a_field_was_drawn_without(tmp_path: Path) -> None:
    history = History(tmp_path / "history.sqlite")
    for key, request in (("old", {"top_p": 0.9}), ("new", {"top_p": 0.8, "repetition_penalty": 1.1})):
        history.keep("me", key, "Tea?", "", record() | {"request": request})
    penalties = [(history.one("me", key) or {})["request"]["repetition_penalty"] for key in ("old", "new")]
    assert penalties == [1.0, 1.1]


def test_it_is_bounded_the_oldest_go(tmp_path: Path) -> None:
    history = History(tmp_path / "history.sqlite", most_each=3, most_bytes=1500)
    for number in range(5):
        history.keep("ann", str(number), "Tea?", "", record())
    history.keep("ann", "2", "Coffee?", "", record())  # goes on: it keeps its place
    assert [found["key"] for found in history.find("ann")] == ["4", "3", "2"]
    assert [found["key"] for found in history.find("ann", "coffee")] == ["2"]
    history.keep("ben", "5", "Tea?", "", record("x" * 1200))
    assert [found["key"] for found in history.find("ben")] == ["5"]
    assert len(history.find("ann")) < 3 and history.one("ann", "2") is None
    with pytest.raises(TooLargeError, match="not kept in the history"):
        history.keep("ann", "6", "Tea?", "", record("x" * MOST_RECORD))


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_text("no database, whatever its name says" * 50)
    history = History(tmp_path / "history.sqlite")
    with pytest.raises(StorageError, match="history of Compare in .* cannot be read"):
        history.find("ann")
    with pytest.raises(StorageError, match="cannot be written"):
        history.keep("ann", "1", "Tea?", "", record())
