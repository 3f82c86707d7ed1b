"""Requests that no page sends: those of the pages, with values, structure and bytes changed at random."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dash import Dash

from dpo.dashboard.web.rights import CALLBACK

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 0.5, float("nan"), float("inf"), 1e308, "", " ",
    "a", "\0", "\ud800", "é" * 300, "../" * 12 + "etc/passwd", "/etc/passwd", "file:../../etc/passwd", "upload:x",
    "~root", "%2e%2e%2f", "runs/a", "runs/a/../../../etc", "http://127.0.0.1:1/v1", "demo/gpt2", "x" * 5000, "{{7*7}}",
    "'; DROP TABLE votes;--", "<script>", "(a+)+$", "[", "\\", [], {}, [[]], [None], {"a": {}}, [1, 2, 3], {"": ""},
    list(range(50)), "NaN", "1e999", "-0", "0x10", "١٢٣", "2026-13-45",
]  # fmt: skip
DEEP = [b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000]
QUERIES = ["", "?kind=sft", "?kind=%00", "?job=%ff", "?job=1&asked=%7B", "?" + "a=b&" * 300, "/..%2f..%2fetc/passwd",
           "/%00", "/" + "x" * 3000]  # fmt: skip
KINDS = ["text/plain", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/json;\x01"]


@dataclass(frozen=True)
class Sent:
    """One request."""

    method: str
    path: str
    body: bytes | None
    kind: str = "application/json"


def callbacks(app: Dash) -> list[dict[str, Any]]:
    """The body of each callback on the server as the page would send it: the values that its parts have at first."""
    values = dict(_parts(app))

    def sent(spec: dict[str, Any]) -> Any:
        if spec["id"].startswith("{"):
            return [{"id": {"type": "da-reading", "key": "x"}, "property": spec["property"], "value": 1}]
        return spec | {"value": values.get(spec["id"], {}).get(spec["property"])}

    made = []
    for output, callback in app.callback_map.items():
        if "callback" not in callback:
            continue
        parts = output[2:-2].split("...") if output.startswith("..") else [output]
        outputs = [dict(zip(("id", "property"), part.rsplit(".", 1), strict=True)) for part in parts]
        first = callback["inputs"][0]
        made.append({
            "output": output, "outputs": outputs if output.startswith("..") else outputs[0],
            "inputs": [sent(spec) for spec in callback["inputs"]], "state": [sent(spec) for spec in callback["state"]],
            "changedPropIds": [] if first["id"].startswith("{") else [f"{first['id']}.{first['property']}"],
        })  # fmt: skip
    return made


def _parts(app: Dash) -> Iterator[tuple[str, dict[str, Any]]]:
    workbench = app.workbench  # type: ignore[attr-defined]
    pages = [page.layout(workbench) for page in app.pages]  # type: ignore[attr-defined]
    from plotly.io.json import to_json_plotly  # type: ignore[import-untyped]

    todo = [json.loads(to_json_plotly(pages))]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            props = item.get("props")
            if isinstance(props, dict) and isinstance(props.get("id"), str):
                yield props["id"], props
            todo += list(item.values())
        elif isinstance(item, list):
            todo += item


def requests(good: list[tuple[str, str, Any]], count: int, seed: int) -> Iterator[Sent]:
    """`count` changed requests; `good` are (method, path, body)."""
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")  # so that one of them can be sent again alone
        method, path, body = rng.choice(good)
        if body is None:
            yield Sent(method, path + rng.choice(QUERIES), None)
            continue
        kind = rng.choice(KINDS) if rng.random() < 0.05 else "application/json"
        yield Sent(method, path, _written(rng, body), kind)


def _written(rng: random.Random, body: Any) -> bytes:
    way = rng.random()
    if way < 0.85:
        text = json.dumps(_changed(rng, body), ensure_ascii=rng.random() < 0.9)
        return text.encode("utf-8", "surrogatepass")
    if way < 0.96:
        return _torn(rng, json.dumps(body).encode())
    return rng.choice(DEEP) if way < 0.98 else rng.randbytes(rng.randint(0, 300))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:30]) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _changed(rng: random.Random, body: Any) -> Any:
    body = copy.deepcopy(body)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        places = [place for place in _places(body) if place]
        if "inputs" in body and rng.random() < 0.7:  # past the check of the form, into the callback
            places = [place for place in places if "value" in place] or places
        if not places:
            return rng.choice(ODD)
        *head, last = rng.choice(places)
        at = body
        for key in head:
            at = at[key]
        way = rng.random()
        if way < 0.65:
            at[last] = copy.deepcopy(rng.choice(ODD))
        elif way < 0.75:
            del at[last]
        elif way < 0.85 and isinstance(at, dict):
            at[rng.choice(["", "x", "__class__", "id", "value", "type", "property"])] = rng.choice(ODD)
        elif way < 0.92 and isinstance(at, list):
            at.extend(copy.deepcopy(at[:5]))
        else:
            at[last] = str(at[last]) if rng.random() < 0.5 else [at[last]]
    return body


def _torn(rng: random.Random, text: bytes) -> bytes:
    torn = bytearray(text)
    for _ in range(rng.randint(1, 6)):
        if not torn:
            break
        at, way = rng.randrange(len(torn)), rng.random()
        if way < 0.4:
            torn[at] = rng.randrange(256)
        elif way < 0.7:
            del torn[at : at + rng.randint(1, 20)]
        else:
            torn[at:at] = rng.choice([b"\x00", b"\xff\xfe", b"\xc3(", b"[" * 50, b"NaN", b"1e999", b"\\ud800", b'"'])
    return bytes(torn)


__all__ = ["CALLBACK", "Sent", "callbacks", "requests"]
