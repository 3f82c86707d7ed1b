"""What foreign pages can do with the dashboard in a real browser: nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from dpo.dashboard.web import accounts
from dpo.dashboard.web.access import Access
from dpo.dashboard.web.accounts import Accounts, Role

ADDRESSES = ("/", "/training", "/lens", "/data", "/runs")


@pytest.fixture
def foreign() -> Iterator[Any]:
    """A page of another origin that shows an address in a frame; `foreign(url)` is its own address."""
    framed = {"url": ""}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            frame = f"<iframe src='{framed['url']}' width=1300 height=800></iframe>"
            document = f"<!doctype html><title>evil</title>{frame}"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(document.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def show(url: str) -> str:
        framed["url"] = url
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield show
    server.shutdown()
    server.server_close()


def test_a_foreign_page_cannot_frame_the_dashboard(
    serve: Any, browser: Browser, foreign: Any, tmp_path: Path, write_run: Any
) -> None:
    write_run(tmp_path / "victim", "gpt2")
    url = serve([tmp_path])
    context = browser.new_context(viewport={"width": 1400, "height": 950})
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if message.type == "error" else None)
    for path in ADDRESSES:
        page.goto(foreign(url + path), wait_until="load")
        expect(page).to_have_title("evil")
        assert all("dash" not in frame.content() for frame in page.frames[1:]), path
        assert [frame.url for frame in page.frames[1:]] in ([], ["chrome-error://chromewebdata/"]), path
    assert sum("frame" in text.lower() for text in refused) >= len(ADDRESSES)
    # Its scripts get nothing either: no answer can be read, and nothing is done.
    for method, route in (("GET", "/api/training"), ("POST", "/api/jobs"), ("POST", "/api/votes/train")):
        told = page.evaluate(
            "([url, method]) => fetch(url, {method, mode: 'no-cors', body: method === 'POST' ? '{}' : undefined})"
            ".then((answer) => answer.type + answer.status, () => 'blocked')",
            [url + route, method],
        )
        assert told in ("blocked", "opaque0"), (route, told)
    context.close()
    assert (tmp_path / "victim" / "run.json").exists() and not (tmp_path / ".jobs").exists()


def test_on_a_network_nobody_sees_more_than_a_login(
    serve: Any, browser: Browser, foreign: Any, tmp_path: Path, write_run: Any
) -> None:
    write_run(tmp_path / "runs" / "secret-run", "gpt2")
    accounts.add(tmp_path / "users.json", "tom", Role.TRAIN, "tea with milk")
    url = serve([tmp_path / "runs"], access=Access("0.0.0.0", accounts=Accounts(tmp_path / "users.json")))
    context = browser.new_context(viewport={"width": 420, "height": 800}, color_scheme="dark")
    page = context.new_page()
    asked: list[str] = []
    page.on("response", lambda answer: asked.append(f"{answer.status} {answer.url.removeprefix(url)}"))
    for path in ADDRESSES:
        page.goto(url + path)
        expect(page.locator("h1")).to_have_text("Sign in")
        assert "secret-run" not in page.content()
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
    given = {line.partition(" ")[2].partition("?")[0] for line in asked if line[:3] in ("200", "304")}
    assert all(path in ("/login", "/assets/tokens.css", "/assets/login.css") or path.startswith("/assets/fonts/inter-")
               for path in given), given  # fmt: skip
    page.goto(url + "/runs")
    page.get_by_label("Name").fill("tom")
    page.get_by_label("Password").fill("tea without")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("This name and password do not go together")
    page.get_by_label("Password").fill("tea with milk")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".ag-pinned-left-cols-container .ag-row").first).to_contain_text("secret-run")

    # A page of another site, open beside it, neither reads nor does anything with this session.
    other = context.new_page()
    other.goto(foreign(url).replace("127.0.0.1", "localhost"))
    for method, route in (("GET", "/api/training"), ("POST", "/api/votes/train"), ("POST", "/logout")):
        told = other.evaluate(
            "([url, method]) => fetch(url, {method, mode: 'no-cors', credentials: 'include'})"
            ".then((answer) => answer.type + answer.status, () => 'blocked')",
            [url + route, method],
        )
        assert told in ("blocked", "opaque0"), route
    other.evaluate(
        "(url) => { const form = document.createElement('form'); form.method = 'post'; form.action = url + '/logout';"
        "document.body.append(form); form.submit(); }",
        url,
    )
    expect(other.locator("body")).to_contain_text("requests from other sites are refused")
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("h1")).to_have_text("Sign in")
    context.close()


def test_a_name_that_was_pointed_here_gets_nothing(serve: Any, launch: Any, tmp_path: Path) -> None:
    """DNS rebinding: the name of a foreign page leads to this machine, so that its scripts are of our origin."""
    port = serve([tmp_path], access=Access("0.0.0.0")).rsplit(":", 1)[1]
    rebound = launch("--host-resolver-rules=MAP evil.example 127.0.0.1")
    page = rebound.new_page()
    answer = page.goto(f"http://evil.example:{port}/")
    assert answer is not None and answer.status == 403
    vote = {"key": "k", "prompt": "p", "policy_a": "a", "policy_b": "b", "text_a": "x", "text_b": "y", "verdict": "a"}
    for method, route in (("GET", "/api/training"), ("POST", "/api/votes"), ("POST", "/api/generate")):
        told = page.evaluate(
            "([url, method, body]) => fetch(url, {method, headers: {'Content-Type': 'application/json'},"
            " body: method === 'POST' ? JSON.stringify(body) : undefined}).then((answer) => answer.status)",
            [route, method, vote],
        )
        assert told == 403, route
    rebound.close()
