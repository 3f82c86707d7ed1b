"""The files of votes and of what was compared: locked, damaged, read-only or gone while the dashboard serves."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from dpo.dashboard.application import create_app

WRITTEN = 10  # entries of each file: every one is a write that reaches the disk
FILES = ("votes.sqlite", "history.sqlite")
OTHERS = ("/", "/runs", "/api/training", "/api/jobs", "/v1/models")  # pages that need neither file


class Page:
    """Casts votes, keeps comparisons and lists both, as Compare does."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client
        client.set_cookie("dpo_viewer", "ann")

    def asked(self, file: str, key: str | None = None) -> tuple[int, Any]:
        """Status and answer to listing, or to writing an entry."""
        path = "/api/votes" if file == "votes.sqlite" else "/api/history"
        answer = self.client.get(path) if key is None else self.client.post(path, json=entry(file, key))
        return answer.status_code, answer.get_json()

    def count(self, file: str) -> int:
        status, answer = self.asked(file)
        assert status == 200, answer
        return int(answer["votes"]) if file == "votes.sqlite" else len(answer["found"])

    def refused(self, file: str, *keys: str | None) -> None:
        """Each is answered by one line that names the file's directory; the other pages go on."""
        for key in keys:
            status, answer = self.asked(file, key)
            assert status == 503 and set(answer) == {"error"}, answer
            assert "directory of the" in answer["error"] or file in answer["error"], answer
            assert "\n" not in answer["error"] and ": " in answer["error"], answer
        for path in OTHERS:
            assert self.client.get(path).status_code == 200, path
        other = next(name for name in FILES if name != file)
        assert self.asked(other)[0] in (200, 503)


def entry(file: str, key: str) -> dict[str, Any]:
    if file == "history.sqlite":
        record = {"first": "Tea?", "samples": [[{"text": f"Yes {key}. " * 40}]], "panes": [0]}
        return {"key": key, "prompt": f"Tea {key}?", "summary": "T5", "record": record}
    texts = {"prompt": f"Tea {key}?", "text_a": f"Yes {key}. " * 20, "text_b": "No."}
    return texts | {"key": key, "policy_a": "demo/t5", "policy_b": "demo/gpt2", "verdict": "a"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def page(home: Path) -> Iterator[Page]:
    app = create_app([home], votes=home / "votes.sqlite")
    page = Page(app.server.test_client())
    for file in FILES:
        for number in range(WRITTEN):
            assert page.asked(file, f"k{number}")[0] == 200
    yield page
    for service in app.server.config["services"]:
        service.close()


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_another_program_holds_is_told_and_then_goes_on(file: str, page: Page, home: Path) -> None:
    with contextlib.closing(sqlite3.connect(home / file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert page.count(file) == WRITTEN  # readers do not wait for writers
        page.refused(file, "late")
        other.execute("ROLLBACK")
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        page.refused(file, None)
        other.execute("COMMIT")
    assert page.asked(file, "late")[0] == 200 and page.count(file) == WRITTEN + 1


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_told_and_stays_as_it_is_until_it_is_mended(file: str, page: Page, home: Path) -> None:
    path, draw = home / file, random.Random(file)
    whole = path.read_bytes()
    broken = [b"This is a text.\n" * 500, whole[: len(whole) // 2], b"\0" * len(whole)]
    for _ in range(20):
        start = draw.randrange(len(whole))
        some = draw.randbytes(draw.choice((1, 3, 40, 4096)))
        broken.append((whole[:start] + some + whole[start:][len(some) :])[: len(whole)])
    refused = 0
    for content in broken:
        path.write_bytes(content)
        status, answer = page.asked(file)
        assert status in (200, 503) and (status == 200 or file in answer["error"]), answer
        if file == "history.sqlite":
            assert page.client.get("/api/history/one?key=k7").status_code in (200, 503)
        refused += status == 503
        if status == 503:
            assert path.read_bytes() == content
            assert page.asked(file, "late")[0] in (200, 503)
        assert page.client.get("/api/votes/pairs.jsonl").status_code in (200, 503)
        for left in home.glob(f"{file}-*"):
            left.unlink()
    assert refused >= 4
    # Within a text SQLite sees no damage.
    path.write_bytes(whole.replace(b"{}", b"{x").replace(b'{"first"', b'[1first"'))
    read = page.client.get("/api/votes" if file == "votes.sqlite" else "/api/history/one?key=k7")
    assert read.status_code == 503 and "it is damaged" in read.get_json()["error"]
    path.write_bytes(broken[0])
    page.refused(file, None, "late")
    path.rename(home / "damaged")  # as the message says
    assert page.asked(file, "new")[0] == 200 and page.count(file) == 1
    path.write_bytes(whole)
    assert page.asked(file, "late")[0] == 200 and page.count(file) == WRITTEN + 1


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Nothing in it can be written, not even by root."""
    mounted = False
    if os.geteuid() == 0:
        made = subprocess.run(["mount", "--bind", directory, directory], capture_output=True, check=False)
        mounted = made.returncode == 0
        if not mounted:
            pytest.skip("root writes whatever the permissions say, and may not mount here")
        subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
    try:
        if not mounted:
            for path in (*directory.iterdir(), directory):
                path.chmod(0o555 if path.is_dir() else 0o444)
        yield
    finally:
        if mounted:
            subprocess.run(["umount", directory], check=True)
        else:
            directory.chmod(0o755)
            for path in directory.iterdir():
                path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_read_only_directory_can_be_read_and_says_that_nothing_is_kept(page: Page, home: Path) -> None:
    with read_only(home):
        for file in FILES:
            assert page.count(file) == WRITTEN
            page.refused(file, "late")
    for file in FILES:
        assert page.asked(file, "late")[0] == 200 and page.count(file) == WRITTEN + 1


def test_a_directory_that_is_moved_away_and_back_is_not_made_anew(page: Page, home: Path) -> None:
    away = home.with_name("away")
    home.rename(away)
    for file in FILES:
        page.refused(file, None, "late")
    assert not home.exists()
    away.rename(home)
    for file in FILES:
        assert page.asked(file, "late")[0] == 200 and page.count(file) == WRITTEN + 1
    shutil.rmtree(home)
    for file in FILES:
        page.refused(file, None, "late")
    home.mkdir()  # as the message says
    for file in FILES:
        assert page.count(file) == 0 and page.asked(file, "new")[0] == 200 and page.count(file) == 1
