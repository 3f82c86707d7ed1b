"""Files that a route sends to be saved."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flask import Response

_KINDS = {".jsonl": "application/jsonl", ".json": "application/json", ".zip": "application/zip", ".csv": "text/csv"}


def attachment(content: str | bytes | Iterator[str], stem: str, ending: str = ".jsonl") -> Response:
    """A file, as it comes, under a name made of what a file system takes of `stem`."""
    name = (re.sub(r"[^\w.-]", "_", stem) or "pairs") + ending
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    kind = next((kind for end, kind in _KINDS.items() if ending.endswith(end)), "text/plain")
    return Response(content, mimetype=kind, headers=headers)
