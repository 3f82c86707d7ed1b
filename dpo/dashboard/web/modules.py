"""The pages' ES modules: one entry, named with all it needs in the document's head, under an address with a version.

A module names others relative to itself, so the version in the entry's address is in theirs too: a browser may
remember them for ever, and gets all of them anew after any of them has changed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from flask import Flask, Response, abort, send_from_directory

RULE = "/modules/<wanted>/<path:filename>"
ENTRY = "js/main.js"
LATER = ("js/walk.js", "js/palette/", "js/many/", "js/sweep/")  # imported when opened: not sent at the first visit
_FOREVER = "public, max-age=31536000, immutable"


class Modules:
    """The modules below a directory of assets, as they are now."""

    def __init__(self, assets: Path) -> None:
        self.assets = assets
        self._seen: tuple[object, str] = ((), "")  # sizes and times of change, and the version that they had

    def files(self) -> list[str]:
        """Their paths below the directory, ours and those of libraries; the entry first."""
        found = [*self.assets.glob("js/**/*.js"), *self.assets.glob("vendor/*/*.js")]
        names = [path.relative_to(self.assets).as_posix() for path in found]
        return sorted(names, key=lambda name: (name != ENTRY, name))

    def first(self) -> list[str]:
        """Those that are needed at once."""
        return [name for name in self.files() if not name.startswith(LATER)]

    def version(self) -> str:
        """A short name of what all of them hold."""
        paths = [self.assets / name for name in self.files()]
        states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        if states != self._seen[0]:
            # Of the contents: an installer may give the files of two versions the same time.
            digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths))
            self._seen = (states, digest.hexdigest()[:12])
        return self._seen[1]

    def tags(self) -> str:
        """HTML for the document's head: the entry, and all it needs, so that they are fetched side by side."""
        base = f"/modules/{self.version()}/"
        loads = "".join(f'<link rel="modulepreload" href="{base}{name}">' for name in self.first())
        return f'{loads}<script type="module" src="{base}{ENTRY}"></script>'

    def register(self, server: Flask) -> None:
        """Serve them."""

        @server.get(RULE)
        def module(wanted: str, filename: str) -> Response:
            if filename not in self.files():
                abort(404)
            response = send_from_directory(self.assets, filename, mimetype="text/javascript")
            # An address of another version is from a document of another time: what it gets may not be remembered.
            response.headers["Cache-Control"] = _FOREVER if wanted == self.version() else "no-store"
            return response
