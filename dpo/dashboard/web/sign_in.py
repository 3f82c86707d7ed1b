"""Signing in: the page, sessions in a cookie, keys in a header, and few tries."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from urllib.parse import urlsplit

from flask import Flask, Response, make_response, redirect, render_template_string, request

from dpo.dashboard.web import reading
from dpo.dashboard.web.access import Access
from dpo.dashboard.web.accounts import Accounts, User
from dpo.errors import BusyError, SignInError
from dpo.resources import resource

PAGE, OUT = "/login", "/logout"
COOKIE = "dpo_session"
HOURS = 12
"""Of a session, from its last request."""
_MOST_SESSIONS = 1000
_MOST_BODY = 8 * 1024
_WINDOW = 300.0  # seconds within which wrong passwords are counted
_MOST_BY_ADDRESS, _MOST_BY_NAME = 10, 20
_MOST_COUNTED = 10_000
# What the page itself is made of; everything else needs somebody who has signed in.
_OPEN = ("/assets/tokens.css", "/assets/login.css", "/assets/fonts/")


class Sessions:
    """Who has signed in, by the token in the cookie; in memory, so that a restart ends them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[User, float]] = OrderedDict()

    def begin(self, user: User) -> str:
        """The token of a new session; of too many the one unused for longest ends."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._known[token] = user, time.monotonic()
            while len(self._known) > _MOST_SESSIONS:
                self._known.popitem(last=False)
        return token

    def user(self, token: str, accounts: Accounts) -> User | None:
        """Whose session it is; None if it has ended, or the password or role was changed since."""
        with self._lock:
            user, used = self._known.get(token, (None, 0.0))
            if user is None:
                return None
            now = time.monotonic()
            current = accounts.users().get(user.name)
            if now - used > HOURS * 3600 or current is None or current != user:
                del self._known[token]
                return None
            self._known[token] = user, now
            self._known.move_to_end(token)
            return user

    def end(self, token: str) -> None:
        """Forget a session."""
        with self._lock:
            self._known.pop(token, None)


class Tries:
    """Counts wrong passwords by address and by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def check(self, address: str, name: str) -> None:
        """Nothing, while there were few.

        Raises:
            BusyError: there were too many; says how long to wait.
        """
        now = time.monotonic()
        with self._lock:
            for kind, what, most in self._counted(address, name):
                times = self._times.get((kind, what), deque())
                while times and now - times[0] > _WINDOW:
                    times.popleft()
                if len(times) >= most:
                    raise BusyError(f"Too many wrong passwords: try again in {_WINDOW - now + times[0]:.0f} s")

    def wrong(self, address: str, name: str) -> None:
        """Count one."""
        with self._lock:
            for kind, what, _ in self._counted(address, name):
                self._times.setdefault((kind, what), deque()).append(time.monotonic())
                self._times.move_to_end((kind, what))
            while len(self._times) > _MOST_COUNTED:
                self._times.popitem(last=False)

    @staticmethod
    def _counted(address: str, name: str) -> tuple[tuple[str, str, int], ...]:
        return ("address", address, _MOST_BY_ADDRESS), ("name", name[:64], _MOST_BY_NAME)


def who(access: Access, sessions: Sessions) -> User | None:
    """Who asks: by the key in `Authorization: Bearer KEY`, or by the cookie.

    Raises:
        SignInError: a key that nobody has.
    """
    if access.accounts is None:
        return None
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        user = access.accounts.holder(key.strip())
        if user is None:
            raise SignInError("Nobody has this key: dpo users key NAME makes one")
        return user
    return sessions.user(request.cookies.get(COOKIE, ""), access.accounts)


def is_open() -> bool:
    """Whether the request needs nobody: the page to sign in, and what it is made of."""
    return request.path in (PAGE, OUT) or request.path.startswith(_OPEN)


def register(server: Flask, access: Access, sessions: Sessions) -> None:
    """Add the page, and signing in and out; without accounts they lead to the first page."""
    tries = Tries()
    inline = resource("assets") / "inline"
    template, theme = ((inline / name).read_text(encoding="utf-8") for name in ("login.html.j2", "theme.js"))

    def page(problem: str = "", status: int = 200) -> Response:
        name = request.form.get("name", "")[:64]
        shown = render_template_string(template, theme=theme, problem=problem, next=_next(), name=name)
        response = make_response(shown, status)
        response.headers["Cache-Control"] = "no-store"
        return response

    @server.get(PAGE)
    def ask() -> Response:
        if access.accounts is None or sessions.user(request.cookies.get(COOKIE, ""), access.accounts):
            return make_response(redirect(_next(), 303))
        return page()

    @server.post(PAGE)
    def enter() -> Response:
        if access.accounts is None:
            return make_response(redirect("/", 303))
        reading.limit(_MOST_BODY)
        name, password = request.form.get("name", ""), request.form.get("password", "")
        address = request.remote_addr or ""
        try:
            tries.check(address, name)
            user = access.accounts.verify(name, password)
        except BusyError as error:
            return page(str(error), 429)
        if user is None:
            tries.wrong(address, name)
            return page("This name and password do not go together", 401)
        response = make_response(redirect(_next(), 303))
        response.set_cookie(
            COOKIE, sessions.begin(user), httponly=True, samesite="Strict", secure=request.is_secure, path="/"
        )  # fmt: skip
        return response

    @server.post(OUT)
    def leave() -> Response:
        sessions.end(request.cookies.get(COOKIE, ""))
        response = make_response(redirect(PAGE, 303))
        response.delete_cookie(COOKIE, path="/")
        return response


def _next() -> str:
    """Where to go then: an address of this server, whatever the request says."""
    wanted = request.values.get("next", "/")
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    own = not parts.scheme and not parts.netloc and wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if own and wanted.isprintable() else "/"
