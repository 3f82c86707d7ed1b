"""The dashboard under load: people who watch trainings, people who generate, and connections that only hold on.

    python benchmarks/soak.py [--viewers 100] [--live 6] [--generating 30] [--idle 500] [--slow 100] [--seconds 60]

Starts a server of this checkout in a temporary directory, with runs that grow by five rows a second.  A viewer does
what the Training page does: it polls every second and asks for six charts when something is new.  Prints in JSON:
quantiles in ms, errors, streams, memory.  The exit code is 1 if anything failed, a stream broke, or memory grew by more
than 100 MiB after the first quarter; of times, which a loaded machine sets, only those of pages beside idle
connections count (10 s).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
CHARTS = ("loss", "chosen", "rejected", "margin", "accuracy", "kl")
JSON = {"Content-Type": "application/json"}
MOST_GROWTH, MOST_SECONDS = 100, 10.0


def row(step: int) -> str:
    """What a training logs."""
    values = {"step": step, "epoch": step / 1000, "time": step * 0.2, "loss": 0.69 - step * 1e-4, "grad_norm": 1.0}
    values |= {"rewards/chosen": step * 1e-3, "rewards/rejected": -step * 1e-3, "rewards/accuracies": 0.8}
    return json.dumps(values | ({"eval_loss": 0.6, "eval_kl": 0.1} if step % 50 == 0 else {})) + "\n"


def make_run(path: Path, state: str, family: str) -> Path:
    """A run with 500 rows."""
    path.mkdir(parents=True)
    about = {"format": 1, "created": "2026-11-25T00:00:00+00:00", "name": path.name, "kind": "dpo", "family": family,
             "state": state, "pid": os.getpid(), "host": socket.gethostname(),
             "config": {"model": "demo/gpt2", "beta": 0.1, "learning_rate": 1e-5, "dataset": "sample"}}  # fmt: skip
    (path / "run.json").write_text(json.dumps(about))
    (path / "metrics.jsonl").write_text("".join(map(row, range(500))))
    return path


def quantiles(seconds: list[float]) -> dict[str, int]:
    """n, and p50, p95, p99 and the largest in ms."""
    found = sorted(seconds)
    at = {f"p{part}": found[min(len(found) - 1, len(found) * part // 100)] for part in (50, 95, 99)} if found else {}
    return {
        "n": len(found),
        **{name: round(1000 * value) for name, value in (at | {"max": max(found, default=0)}).items()},
    }


class Load:
    """Everybody at once, and what they met."""

    def __init__(self, port: int, live: list[Path]) -> None:
        self.port, self.live = port, live
        self.times: dict[str, list[float]] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self.until = 0.0

    def ask(self, connection: http.client.HTTPConnection, name: str, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer; None for none."""
        began = time.perf_counter()
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), JSON if body is not None else {}
            )
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.counts[f"error: {name} {type(error).__name__}"] += 1
            connection.close()
            return None
        finally:
            self.times[name].append(time.perf_counter() - began)
        if answer.status != 200:
            self.counts[f"error: {name} {answer.status}"] += 1
            return None
        return json.loads(content) if content[:1] in (b"{", b"[") else content

    def view(self, number: int) -> None:
        """One who watches the live runs."""
        time.sleep(number % 20 / 20)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.ask(connection, "page", "GET", "/training")
        self.ask(connection, "layout", "GET", "/_dash-layout")
        shown = {
            "runs": [str(path.relative_to(path.parents[1])) for path in self.live],
            "axis": "Step",
            "smoothing": 60,
        }
        seen, ticks, revisions = None, 0, dict.fromkeys(CHARTS)
        while time.monotonic() < self.until:
            now = self.ask(connection, "poll", "GET", "/api/training")
            ticks += 1
            if now and now["signature"] != seen:
                asked = shown | {"charts": revisions, "summary": ticks % 3 == 1}
                made = self.ask(connection, "curves", "POST", "/api/curves", asked)
                if made:
                    seen = now["signature"]
                    revisions |= {chart["key"]: chart["revision"] for chart in made["charts"]}
            time.sleep(1)
        connection.close()

    def generate(self, number: int) -> None:
        """One who asks the bundled policies again and again."""
        asked = {"prompt": f"Do you like tea {number}?", "policies": ["demo/t5-dpo", "demo/gpt2-dpo"],
                 "max_new_tokens": 40, "seed": number}  # fmt: skip
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
                cookie = {"Cookie": f"dpo_viewer=soak{number}"}
                connection.request("POST", "/api/generate", json.dumps(asked), JSON | cookie)
                answer = connection.getresponse()
                content = answer.read()
                whole = answer.status == 200 and b"event: finished" in content
                self.counts["streams: whole" if whole else f"error: stream {answer.status}"] += 1
            except (OSError, http.client.HTTPException) as error:
                self.counts[f"error: stream {type(error).__name__}"] += 1
            if time.monotonic() >= self.until:
                return
            time.sleep(1)

    def train(self) -> None:
        """Rows for all live runs, five a second."""
        step = 500
        while time.monotonic() < self.until:
            for path in self.live:
                with (path / "metrics.jsonl").open("a") as file:
                    file.write(row(step))
            step += 1
            time.sleep(0.2)

    def run(self, viewers: int, generating: int, seconds: float, process: psutil.Process) -> list[float]:
        """All of them for so long; the server's MiB a quarter of the time in, and at the end."""
        self.until = time.monotonic() + seconds
        everybody = [threading.Thread(target=self.train)]
        everybody += [threading.Thread(target=self.view, args=(number,)) for number in range(viewers)]
        everybody += [threading.Thread(target=self.generate, args=(number,)) for number in range(generating)]
        for one in everybody:
            one.start()
        time.sleep(seconds / 4)
        first = process.memory_info().rss / 2**20
        for one in everybody:
            one.join()
        return [round(first), round(process.memory_info().rss / 2**20)]


@contextlib.contextmanager
def serving(work: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A server of this checkout, and where it is."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port)]
    server = subprocess.Popen(command, cwd=work, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        while not (line := server.stdout.readline()).startswith("DPO workbench:"):
            if not line:
                raise SystemExit("the server ended")
        yield port, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(60)


def hold(port: int, idle: int, slow: int, seconds: float, load: Load) -> None:
    """Pages beside connections that say nothing, or a byte a second of a header that never ends."""
    head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"a" * 100_000
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(idle + slow)]
    connection, until, at = http.client.HTTPConnection("127.0.0.1", port, timeout=60), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        dropped = 0
        for slowly in held[:slow]:
            try:
                slowly.sendall(head[at : at + 1])
            except OSError:
                dropped += 1
        at, load.counts["slow connections dropped"] = at + 1, dropped
        load.ask(connection, "page beside them", "GET", "/")
        time.sleep(1)
    for one in (*held, connection):
        one.close()


def main() -> int:
    """Both stages; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    for name, value in (
        ("viewers", 100),
        ("live", 6),
        ("generating", 30),
        ("idle", 500),
        ("slow", 100),
        ("seconds", 60),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    if asked.seconds < 20:
        parser.error("--seconds: 20 or more, so that something is measured")
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        live = [
            make_run(runs / f"live-{number}", "running", ("gpt2", "t5")[number % 2]) for number in range(asked.live)
        ]
        for number in range(20):
            make_run(runs / f"old-{number}", "finished", ("gpt2", "t5")[number % 2])
        with serving(Path(folder)) as (port, process):
            load = Load(port, live)
            load.generate(0)  # until then no policy is loaded, and no PyTorch
            load.counts.clear()
            mib = load.run(asked.viewers, asked.generating, asked.seconds, process)
            hold(port, asked.idle, asked.slow, min(asked.seconds, 40), load)
    times = {name: quantiles(seconds) for name, seconds in load.times.items()}
    print(json.dumps(vars(asked) | {"ms": times, "counts": dict(load.counts), "mib": mib}))
    slowest = times["page beside them"]["max"] / 1000
    failed = any(name.startswith("error") for name in load.counts) or mib[1] - mib[0] > MOST_GROWTH
    return int(failed or slowest > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
