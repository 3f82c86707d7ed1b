"""Signing in: accounts in a file, sessions, keys, roles, few tries, and nothing for nobody."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from dpo.cli.main import main
from dpo.dashboard.application import create_app
from dpo.dashboard.web import accounts, sign_in
from dpo.dashboard.web.access import Access, Right
from dpo.dashboard.web.accounts import Accounts, Role
from dpo.dashboard.web.rights import CALLBACK, PAGES, ROUTES
from dpo.errors import ConfigError

PASSWORDS = {"vera": "correct horse", "gina": "battery staple", "tom": "tea with milk"}
ROLES = {"vera": Role.VIEW, "gina": Role.GENERATE, "tom": Role.TRAIN}


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("auth") / "users.json"
    for name, role in ROLES.items():
        accounts.add(path, name, role, PASSWORDS[name])
    return path


def app_of(users: Path, folder: Path) -> Any:
    access = Access("0.0.0.0", accounts=Accounts(users))
    return create_app([folder], access, votes=folder / "v.sqlite", data_directory=folder)


def enter(client: FlaskClient, name: str, password: str | None = None, **more: Any) -> TestResponse:
    sent = {"name": name, "password": PASSWORDS[name] if password is None else password}
    return client.post("/login", data=sent | more.pop("form", {}), **more)


def test_nobody_gets_a_login_and_nothing_else(users: Path, tmp_path: Path) -> None:
    client = app_of(users, tmp_path).server.test_client()
    for method, rule in ROUTES:
        path = rule.replace("<path:path>", "runs").replace("<string:package_name>", "dash")
        for part in ("<ident>", "<wanted>", "<path:filename>", "<path:fingerprinted_path>", "<path:other>", "<name>"):
            path = path.replace(part, "x")
        if rule in ("/login", "/logout"):
            continue
        answer = client.open(path.replace("<path:name>", "x"), method=method, json={} if method == "POST" else None)
        if rule in ("/", "/<path:path>"):
            assert answer.status_code == 303 and answer.location.startswith("/login?next="), rule
        else:
            assert answer.status_code == 401, (method, rule, answer.status_code)
        assert b"runs" not in answer.get_data().replace(b"/runs", b"").replace(b"%2Fruns", b""), rule
    assert client.get("/assets/app.css").status_code == 401
    page = client.get("/login")
    assert page.status_code == 200 and "Sign in" in page.get_data(as_text=True)
    assert page.headers["X-Frame-Options"] == "DENY" and page.headers["Cache-Control"] == "no-store"
    for path in ("/assets/tokens.css", "/assets/login.css", "/assets/fonts/inter-regular.woff2"):
        assert client.get(path).status_code == 200, path
    assert client.get("/api/training", headers={"Cookie": "dpo_session=x"}).status_code == 401


@pytest.mark.parametrize("name", list(ROLES))
def test_roles_have_their_rights(users: Path, tmp_path: Path, name: str) -> None:
    client = app_of(users, tmp_path).server.test_client()
    answer = enter(client, name)
    cookie = answer.headers["Set-Cookie"]
    assert answer.status_code == 303 and answer.location == "/"
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    may = {Right.READ: True, Right.ASK: name != "vera", Right.VOTE: name != "vera", Right.TRAIN: name == "tom",
           Right.CHANGE: name == "tom"}  # fmt: skip
    for method, rule in ROUTES:
        if rule in PAGES or rule in ("/logout", CALLBACK) or "<" in rule:
            continue
        status = client.open(rule, method=method, json={} if method == "POST" else None).status_code
        assert (status == 403) is not may[ROUTES[method, rule]] and status != 401, (method, rule, status)
    assert client.get("/").status_code == 200
    layout = client.get("/_dash-layout").get_data(as_text=True)
    assert name in layout and "Sign out" in layout
    assert client.get("/api/jobs").get_json()["allowed"] is may[Right.TRAIN]
    assert client.post("/logout").location == "/login"
    assert client.get("/api/training").status_code == 401


def test_sessions_end_with_the_password_and_the_person(users: Path, tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    accounts.add(path, "ann", Role.VIEW, "first password")
    client = app_of(path, tmp_path).server.test_client()
    assert enter(client, "ann", "first password").status_code == 303
    assert client.get("/api/training").status_code == 200
    accounts.add(path, "ann", Role.TRAIN, "second password")
    assert client.get("/api/training").status_code == 401  # at once
    assert enter(client, "ann", "first password").status_code == 401
    assert enter(client, "ann", "second password").status_code == 303
    accounts.remove(path, "ann")
    assert client.get("/api/training").status_code == 401
    path.write_text("{")
    assert client.get("/api/training").status_code == 401 and client.get("/login").status_code == 200


def test_wrong_passwords_are_counted(users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "_MOST_BY_ADDRESS", 3)
    client = app_of(users, tmp_path).server.test_client()
    told = [enter(client, "vera", "wrong password").status_code for _ in range(3)]
    answer = enter(client, "vera")  # also the right one waits now
    assert told == [401] * 3 and answer.status_code == 429 and "Too many wrong" in answer.get_data(as_text=True)
    other = {"REMOTE_ADDR": "10.0.0.9"}
    assert enter(client, "nobody", "wrong password", environ_overrides=other).status_code == 401
    assert enter(client, "vera", environ_overrides=other).status_code == 303


def test_keys_let_programs_in(users: Path, tmp_path: Path) -> None:
    key = accounts.add_key(users, "gina")
    assert key not in users.read_text() and key.startswith("dpo_")
    client = app_of(users, tmp_path).server.test_client()
    assert client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert client.post("/api/jobs", json={}, headers={"Authorization": f"Bearer {key}"}).status_code == 403
    for wrong in ("x", key[:-1], "", "é"):
        answer = client.get("/v1/models", headers={"Authorization": f"Bearer {wrong}"})
        assert answer.status_code == 401 and "key" in answer.get_json()["error"]["message"]


def test_foreign_pages_cannot_sign_in_or_lead_away(users: Path, tmp_path: Path) -> None:
    client = app_of(users, tmp_path).server.test_client()
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}):
        assert enter(client, "tom", headers=headers).status_code == 403
    elsewhere = (
        "//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "http://[", "/a\nb",
    )  # fmt: skip
    for there in elsewhere:
        assert enter(client, "tom", form={"next": there}).location == "/", there
    assert enter(client, "tom", form={"next": "/runs?a=b"}).location == "/runs?a=b"
    assert "Secure" in enter(client, "tom", base_url="https://localhost").headers["Set-Cookie"]


def test_the_command_writes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "users.json"
    monkeypatch.setattr("sys.stdin", io.StringIO("a good password\n"))
    assert main(["users", "add", "ann", "--role", "generate", "--auth", str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and "a good password" not in path.read_text()
    assert "argon2id" in json.loads(path.read_text())["users"][0]["password"]
    assert main(["users", "key", "ann", "--auth", str(path)]) == 0
    assert main(["users", "list", "--auth", str(path)]) == 0
    out = capsys.readouterr().out
    assert "generate  1 key" in out
    for arguments, why in (
        (["users", "rm", "bob", "--auth", str(path)], "no user 'bob'"),
        (["users", "add", "a b", "--auth", str(path)], "no name for a user"),
        (["users", "list", "--auth", str(tmp_path / "none")], "dpo users add"),
        (["serve", "--host", "0.0.0.0"], "--no-auth"),
        (["serve", "--proxy", "127.0.0.1"], "--proxy lets other machines in"),
        (["serve", "--host", "0.0.0.0", "--auth", str(path), "--no-auth"], "contradict"),
        (["serve", "--host", "0.0.0.0", "--auth", str(tmp_path / "none")], "There is no file"),
        (["serve", "--auth", str(path), "--allow-training"], "role is train"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO("a good password\n"))
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert why in told and told.count("\n") == 1, arguments
    assert main(["users", "rm", "ann", "--auth", str(path)]) == 0
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="Others may write"):
        Accounts(path)
    path.chmod(0o600)
    for content in ("[]", "{}", '{"format": 1, "users": [{}]}', '{"format": 2, "users": []}', "[" * 100_000,
                    '{"format": 1, "users": [{"name": "a", "role": "king", "password": "x"}]}'):  # fmt: skip
        path.write_text(content)
        with pytest.raises(ConfigError, match="cannot be read"):
            Accounts(path)
