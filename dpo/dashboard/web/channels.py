"""Connections of the web server that may not take as long as they like."""

from __future__ import annotations

import time

from waitress.channel import HTTPChannel

_HEADER_SECONDS = 20.0
_BODY_SECONDS = 600.0  # an upload of 50 MB over a slow line
_READING_SECONDS = 300.0


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that is closed when its request, or the reading of its answer, goes on for too long.

    Waitress closes a connection on which nothing happens.  One byte a second is something, and would hold it, and the
    answers that wait for it in memory, for good.
    """

    _asked_since: float | None = None
    _answered_since: float | None = None

    def received(self, data: bytes) -> bool:
        """Take bytes of a request; too late ones end the connection."""
        now = time.monotonic()
        if self.request is None or self._asked_since is None:
            self._asked_since = now
        elif now - self._asked_since > (_BODY_SECONDS if self.request.headers_finished else _HEADER_SECONDS):
            self.will_close = True
            return False
        return bool(super().received(data))

    def handle_write(self) -> None:
        """Send what the reader takes; who has not caught up for minutes is no longer waited for."""
        super().handle_write()
        now = time.monotonic()
        if not self.total_outbufs_len:
            self._answered_since = None
        elif self._answered_since is None:
            self._answered_since = now
        elif now - self._answered_since > _READING_SECONDS:
            self.will_close = True
