"""The charts of a view, drawn once for all who look at the same runs in the same way."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from plotly.io.json import to_json_plotly  # type: ignore[import-untyped]

from dpo.dashboard.run_reader import DOCTOR_SECONDS, RunReader
from dpo.serving.shared import Lately

_VIEW = ("runs", "axis", "smoothing", "log", "unit", "span")
_MOST = 16  # views at a time, of half a megabyte each


class Sketches:
    """Answers of `draw` as JSON.

    What is remembered holds as long as no file of these runs has changed and all are in the state they were in: a
    viewer never gets less than what was on disk when he asked.
    """

    def __init__(self, draw: Callable[[Mapping[str, Any], RunReader], dict[str, Any]], reader: RunReader) -> None:
        self._draw, self._reader = draw, reader
        self._drawn: Lately[dict[str, Any]] = Lately(_MOST)
        self._written: Lately[bytes] = Lately(2 * _MOST)

    def answer(self, asked: Mapping[str, Any]) -> tuple[bytes, str | None]:
        """The answer, and a tag by which the same one is known; None for what is not remembered."""
        runs, known = asked.get("runs"), asked.get("charts")
        paths = [str(path) for path in runs] if isinstance(runs, list) else []
        known = known if isinstance(known, dict) else {}
        state = self._reader.state(paths)
        if state is None or asked.get("table") is not None:
            return _json(self._draw(asked, self._reader)), None

        view = json.dumps([asked.get(name) for name in _VIEW]), state
        drawn = self._made((*view, *sorted(known)), {**asked, "charts": dict.fromkeys(known), "summary": False})
        charts = [chart for chart in drawn["charts"] if chart["revision"] != known[chart["key"]]]
        answer, key = {**drawn, "charts": charts}, (*view, *(chart["key"] for chart in charts))
        if asked.get("summary"):
            # The doctor is asked every few seconds only, and may think otherwise then.
            key = (*key, "summary", time.monotonic() // DOCTOR_SECONDS)
            summary = self._made((*view, *key[-2:]), {**asked, "charts": {}, "summary": True})
            answer["summary"] = summary["summary"]
        written = self._written.get(key, lambda: _json(answer))
        return written, f"{zlib.crc32(written):x}-{len(written):x}"

    def _made(self, key: Hashable, asked: Mapping[str, Any]) -> dict[str, Any]:
        return self._drawn.get(key, lambda: self._draw(asked, self._reader))


def _json(answer: Mapping[str, Any]) -> bytes:
    return str(to_json_plotly(answer)).encode()
