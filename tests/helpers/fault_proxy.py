"""A proxy before a real server that fails in the ways in which endpoints fail."""

from __future__ import annotations

import contextlib
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FaultProxy(ThreadingHTTPServer):
    """Passes requests on; `fault` says what becomes of those that `hits` picks by their number, from 1 on."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.url = target, f"http://127.0.0.1:{self.server_port}/v1"
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.set("pass")

    def set(self, fault: str, every: int = 1) -> None:
        """From now on every so many-th request meets this fault; requests are counted anew."""
        self.fault, self.every = fault, every
        self.count, self.bodies = 0, Counter[bytes]()

    def meets(self, body: bytes) -> str:
        """What becomes of a request."""
        with self.lock:
            self.count += 1
            self.bodies[body] += 1
            if self.fault == "busy":  # once for each question
                return "busy" if self.bodies[body] == 1 else "pass"
            return self.fault if self.count % self.every == 0 else "pass"

    def handle_error(self, *_: Any) -> None:
        """Clients that have gone are no news."""


class _Handler(BaseHTTPRequestHandler):
    server: FaultProxy

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        fault = self.server.meets(body)
        if fault == "gone":
            self.connection.close()
        elif fault == "slow":
            self.server.released.wait()
        elif fault == "busy":
            self._send(429, b"{}", {"retry-after": "0"})
        elif fault == "garbage":
            self._send(200, b"<html>Please log in</html>", {})
        elif fault == "cut":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
        else:
            self._send(*self._passed(body), {})

    def _passed(self, body: bytes) -> tuple[int, bytes]:
        request = urllib.request.Request(self.server.target + self.path, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def fault_proxy(target: str) -> Iterator[FaultProxy]:
    """A proxy before the server at `target`."""
    proxy = FaultProxy(target)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.released.set()
        proxy.shutdown()
        thread.join()
        proxy.server_close()
