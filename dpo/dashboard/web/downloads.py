"""Files that a route sends to be saved."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flask import Response


def attachment(content: str | Iterator[str], stem: str, ending: str = ".jsonl") -> Response:
    """JSON lines, as they come, under a name made of what a file system takes of `stem`."""
    name = (re.sub(r"[^\w.-]", "_", stem) or "pairs") + ending
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(content, mimetype="application/jsonl", headers=headers)
