"""The one guard before every request: under which name, from which page, and with which right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Flask, g, redirect, request
from werkzeug import Response
from werkzeug.exceptions import UnsupportedMediaType

from dpo.dashboard.web import reading, sign_in
from dpo.dashboard.web.access import Access
from dpo.dashboard.web.rights import CALLBACK, PAGES, ROUTES, UPLOAD, right_of_callback
from dpo.errors import AccessError, ConfigError, SignInError

_DOCUMENTS = frozenset({"/", "/<path:path>"})
_OWN_SITES = frozenset({"same-origin", "none"})  # "none": typed into the address bar


def register(server: Flask, access: Access, callbacks: Mapping[str, Any], sessions: sign_in.Sessions) -> None:
    """Refuse what the table does not allow, before anything else looks at the request.

    Args:
        callbacks: Dash's `callback_map`.
    """

    @server.before_request
    def admit() -> Response | None:
        check_host(access)
        reading.check_address()
        if request.url_rule is None or request.method == "OPTIONS":
            return None  # there is no such route, or nothing is done
        rule, method = request.url_rule.rule, "GET" if request.method == "HEAD" else request.method
        if rule not in PAGES or method != "GET":
            check_origin()
        right = ROUTES.get((method, rule))
        if right is None:
            raise AccessError(f"{method} {rule} has no right in dpo/dashboard/web/rights.py: add one")
        if access.accounts is not None and not sign_in.is_open():
            g.user = sign_in.who(access, sessions)
            if g.user is None:
                return _ask(rule)
        if not sign_in.is_open():
            access.require(right)
            _check_body(rule, method)
        if rule == CALLBACK:
            _check_callback(access, callbacks)
        return None


def _check_body(rule: str, method: str) -> None:
    if method == "POST" and rule != CALLBACK:
        reading.limit(reading.MOST_BODY)
        if not request.is_json:
            raise UnsupportedMediaType("send JSON with Content-Type: application/json")


def _ask(rule: str) -> Response:
    """For nobody: a browser that opens a page is led to where one signs in.

    Raises:
        SignInError: it is something else.
    """
    if rule in _DOCUMENTS and request.method == "GET":
        return redirect(f"{sign_in.PAGE}?{urlencode({'next': request.full_path.rstrip('?')})}", 303)
    raise SignInError("Sign in first: open this server's page, or send Authorization: Bearer KEY (dpo users key)")


def check_host(access: Access) -> None:
    """Nothing, for a request to one of the server's own names.

    Raises:
        AccessError: another one, as by DNS rebinding.
    """
    if not access.knows(request.host):
        raise AccessError(
            f"{request.host[:80]!r} is not this server's name: use http://{access.host}, or start it with "
            "--allowed-host NAME"
        )


def check_origin() -> None:
    """Nothing, for a request of our own page or of a program.

    A browser says from where it asks; a foreign page must not drive this server.

    Raises:
        AccessError: another page asks.
    """
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if (origin is not None and _netloc(origin) != request.host) or (site is not None and site not in _OWN_SITES):
        raise AccessError("requests from other sites are refused")


def name_of(output: str, callback: Mapping[str, Any]) -> str:
    """A callback's name in the table: its first input and its first output."""
    first = callback["inputs"][0]
    return f"{first['id']}.{first['property']} > {_outputs(output)[0].partition('@')[0]}"


def _check_callback(access: Access, callbacks: Mapping[str, Any]) -> None:
    reading.limit(reading.MOST_UPLOAD_BODY)
    size = request.content_length
    body = reading.body()
    output = body.get("output")
    callback = callbacks.get(output) if isinstance(output, str) else None
    if callback is None or "callback" not in callback:
        raise ConfigError("there is no such callback: reload the page")
    assert isinstance(output, str)
    name = name_of(output, callback)
    right = right_of_callback(name)
    if right is None:
        raise AccessError(f"The callback {name} has no right in dpo/dashboard/web/rights.py: add one")
    access.require(right)
    if name != UPLOAD and (size is None or size > reading.MOST_CALLBACK):
        reading.limit(reading.MOST_CALLBACK)
    check_structure(body, output, callback)


def check_structure(body: Mapping[str, Any], output: str, callback: Mapping[str, Any]) -> None:
    """Nothing, for a callback's body of the form that Dash's renderer sends.

    Raises:
        ConfigError: parts are missing, too many, or of another kind.
    """
    outputs = body.get("outputs")
    wanted = [dict(zip(("id", "property"), part.rsplit(".", 1), strict=True)) for part in _outputs(output)]
    changed = body.get("changedPropIds", [])
    fits = (
        _fit(outputs if output.startswith("..") else [outputs], wanted)
        and _fit(body.get("inputs"), callback["inputs"])
        and _fit(body.get("state", []), callback["state"])
        and _are_inputs(changed, body.get("inputs"))
    )
    if not fits:
        raise ConfigError("the callback's inputs are not those of this page: reload it")


def _fit(sent: Any, wanted: list[dict[str, Any]]) -> bool:
    return isinstance(sent, list) and len(sent) == len(wanted) and all(map(_fits, sent, wanted))


def _fits(sent: Any, wanted: Mapping[str, Any]) -> bool:
    if wanted["id"].startswith("{"):  # a pattern: as many as there are on the page
        parts, pattern = sent if isinstance(sent, list) else [sent], json.loads(wanted["id"])
        return all(isinstance(part, dict) and _matches(part.get("id"), pattern)
                   and part.get("property") == wanted["property"] for part in parts)  # fmt: skip
    if not isinstance(sent, dict) or sent.get("id") != wanted["id"]:
        return False
    given = sent.get("property")
    return isinstance(given, str) and given.partition("@")[0] == wanted["property"].partition("@")[0]


def _matches(sent: Any, pattern: Mapping[str, Any]) -> bool:
    """Whether an id has the keys of a pattern, and its values where these are fixed."""
    if not isinstance(sent, dict) or sent.keys() != pattern.keys():
        return False
    return all(sent[key] == wanted or (isinstance(wanted, list) and isinstance(sent[key], str | int))
               for key, wanted in pattern.items())  # fmt: skip


def _are_inputs(changed: Any, inputs: Any) -> bool:
    """Whether what has changed (`ID.PROPERTY` each) is among a callback's inputs, as a callback believes it."""
    if not isinstance(changed, list) or not all(isinstance(name, str) for name in changed):
        return False
    parts = [part for sent in inputs for part in (sent if isinstance(sent, list) else [sent])]
    known = {f"{_written(part['id'])}.{part['property']}" for part in parts}
    return known.issuperset(changed)


def _written(ident: str | dict[str, Any]) -> str:
    """An id as the renderer writes it."""
    return ident if isinstance(ident, str) else json.dumps(ident, sort_keys=True, separators=(",", ":"))


def _outputs(output: str) -> list[str]:
    return output[2:-2].split("...") if output.startswith("..") else [output]


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
