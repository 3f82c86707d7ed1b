"""`dpo serve` (and `python app.py`): the dashboard.

Nothing heavy is imported here: the page is up in a second, PyTorch is loaded by the first prompt.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo import hub
from dpo.errors import ConfigError
from dpo.evaluation.votes import DEFAULT_VOTES
from dpo.generation.remote import Remote
from dpo.heap import limit_arenas, trim_heap
from dpo.policies.names import BUNDLED_RUNS, DEFAULT_RUNS, check_weights

if TYPE_CHECKING:
    from dash import Dash

    from dpo.dashboard.web.access import Access

_NO_HUB = "this dashboard asks the hub only if it is started with --allow-hub"
_MOST_CONNECTIONS = 1000  # of which idle ones cost next to nothing
_ARENAS = 2  # of the heap, for a hundred threads of which one computes at a time
_GIVEN_BACK_SECONDS = 30.0  # a tenth of a second's work for a heap of a gigabyte
_IDLE_SECONDS = 60  # then they are closed; a stream says every 15 s that it lives


def add_serve(actions: Any) -> None:
    """Register `dpo serve`."""
    parser = actions.add_parser(
        "serve", help="the dashboard, in a browser", description="The DPO workbench's dashboard."
    )
    parser.add_argument("--port", type=int, default=8050, help="port (default: 8050)")
    parser.add_argument(
        "--runs", action="append", type=Path, metavar="DIR", help="also read runs here; may be given several times"
    )
    parser.add_argument(
        "--votes",
        type=Path,
        default=DEFAULT_VOTES,
        metavar="FILE",
        help=f"where votes are kept (default: {DEFAULT_VOTES})",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="files of pairs for the Data page, and for the Lens of runs trained on them (default: data)",
    )
    parser.add_argument(
        "--remote",
        action="append",
        metavar="NAME=URL[,MODEL]",
        help="an OpenAI-compatible server to compare with, such as big=http://gpu:8000/v1,my-7b; only servers named "
        "here are ever asked",
    )
    parser.add_argument(
        "--dtype",
        default="fp32",
        metavar="NAME",
        help="weights of the policies that answer: fp32, or bf16 where the device has it (default: fp32)",
    )
    _add_access(parser)
    parser.set_defaults(call=serve)


def _add_access(parser: argparse.ArgumentParser) -> None:
    """The flags that say who gets in, and what they may do."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to bind; the default is this machine only, any other needs --auth or --no-auth",
    )
    parser.add_argument(
        "--auth", type=Path, metavar="FILE", help="let in only those that dpo users add wrote into this file"
    )
    parser.add_argument(
        "--no-auth", action="store_true", help="let in everybody who reaches the address, without a login"
    )
    parser.add_argument(
        "--proxy",
        metavar="ADDRESS",
        help="believe X-Forwarded-For, -Proto and -Host of the proxy at this address, which speaks TLS",
    )
    parser.add_argument(
        "--allow-training",
        action="store_true",
        help="let everybody who reaches the page train here; on this machine only, that is always so",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        metavar="NAME",
        help="a host name under which the page is reached, beside addresses; may be given several times",
    )
    parser.add_argument(
        "--allow-hub",
        action="store_true",
        help="let requests name any model of the Hugging Face hub, which is then downloaded; without it the server "
        "sends the hub nothing",
    )
    parser.add_argument(
        "--hub-token",
        action="store_true",
        help="with --allow-hub: ask the hub with the token stored here, so that requests reach your private models",
    )


def serve(arguments: argparse.Namespace) -> int:
    """`dpo serve`: answer until interrupted.

    Raises:
        ConfigError: a directory, port, host, remote server or dtype that cannot be used.
    """
    for directory in arguments.runs or []:
        if not directory.is_dir():
            raise ConfigError(f"--runs {directory} is not a directory: check the path")
    if not 0 < arguments.port < 65536:
        raise ConfigError(f"--port {arguments.port}: it must be from 1 to 65535")
    if (problem := _unavailable(arguments.host, arguments.port)) is not None:
        raise ConfigError(problem)
    remotes = [Remote.of(text) for text in arguments.remote or []]
    if check_weights(arguments.dtype) != "fp32":  # PyTorch is asked only where it must be
        from dpo.policies.loading import weights_dtype

        weights_dtype(arguments.dtype)

    from dpo.dashboard.application import create_app

    access = _access(arguments)
    restrict_hub(access, arguments.hub_token)
    app = create_app(
        [*(arguments.runs or []), DEFAULT_RUNS, BUNDLED_RUNS],
        access, port=arguments.port, remotes=remotes, votes=arguments.votes, data_directory=arguments.data,
        dtype=arguments.dtype,
    )  # fmt: skip
    shown = "127.0.0.1" if arguments.host in ("0.0.0.0", "::") else arguments.host
    shown = f"[{shown}]" if ":" in shown else shown
    lines = [] if access.local else access.block(arguments.port)
    lines.append(f"DPO workbench: http://{shown}:{arguments.port} (Ctrl-C stops it)")
    _answer(app, arguments.host, arguments.port, lines, arguments.proxy)
    return 0


def _access(arguments: argparse.Namespace) -> Access:
    """Who may do what; other machines are let in by a login, or by saying that there is none."""
    from dpo.dashboard.web.access import Access
    from dpo.dashboard.web.accounts import Accounts

    host, auth = arguments.host, arguments.auth
    if arguments.no_auth and auth is not None:
        raise ConfigError("--auth and --no-auth contradict each other: leave out one of them")
    if auth is not None and arguments.allow_training:
        raise ConfigError("--allow-training is for --no-auth: with --auth, those whose role is train may train")
    names = tuple(arguments.allowed_host or ())
    accounts = None if auth is None else Accounts(auth)
    proxied = arguments.proxy is not None
    access = Access(host, names, arguments.allow_training, arguments.allow_hub, accounts, proxied)
    if not access.local and auth is None and not arguments.no_auth:
        flag = "--proxy" if proxied else f"--host {host}"
        raise ConfigError(
            f"{flag} lets other machines in: add --auth FILE (dpo users add NAME --auth FILE makes it), or "
            "--no-auth to do without a login"
        )
    return access


def restrict_hub(access: Access, token: bool) -> None:
    """The hub is asked by a request only where it was allowed, and with the owner's token only where that was.

    Trainings are processes of their own: started on this machine they may do what a terminal may; where a network
    can start them, they get what its requests get.
    """
    if not access.hub:
        hub.forbid(_NO_HUB)
    if not token:
        hub.send_no_token()
    if not access.local:
        os.environ.update({} if access.hub else {"HF_HUB_OFFLINE": "1"})
        os.environ.update({} if token else {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})


def _answer(app: Dash, host: str, port: int, lines: Sequence[str], proxy: str | None) -> None:
    """Say `lines` and answer until Ctrl-C or a SIGTERM; then end every stream properly and remove the uploads."""
    from waitress.server import BaseWSGIServer, create_server

    from dpo.dashboard.web.channels import Channel
    from dpo.dashboard.web.reading import MOST_UPLOAD_BODY
    from dpo.dashboard.web.streams import THREADS

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)

    def close() -> None:
        for service in app.server.config["services"]:
            service.close()

    def stop(_signal: int, _frame: object) -> None:
        # In a thread: a handler must not wait for a lock that the interrupted code may hold.
        threading.Thread(target=close, name="dpo-close").start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    limit_arenas(_ARENAS)
    spare_collections()
    # A byte is sent as soon as it is there: tokens must not wait for a buffer to fill.
    listening: dict[int, Any] = {}
    server = create_server(
        app.server, map=listening, host=host, port=port, threads=THREADS, send_bytes=1, ident="dpo",
        max_request_body_size=MOST_UPLOAD_BODY, connection_limit=_MOST_CONNECTIONS, asyncore_use_poll=True,
        channel_timeout=_IDLE_SECONDS, **_trusted(proxy),
    )  # fmt: skip
    for listener in listening.values():
        if isinstance(listener, BaseWSGIServer):
            listener.channel_class = Channel
    print("\n".join(lines), flush=True)  # from here on it answers
    threading.Thread(target=_prepare, args=[app], name="dpo-prepare", daemon=True).start()
    threading.Thread(target=_give_back, name="dpo-memory", daemon=True).start()
    try:
        server.run()
    finally:
        close()


def spare_collections() -> None:
    """Leave what a server that has started holds for good out of Python's looks for unreachable cycles.

    Each of those goes through all modules and pages, and reading 40,000 rows of an evaluation set off dozens: they were
    more than half of what its first opening costs.  Memory that is no cycle is freed as before.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def _prepare(app: Dash) -> None:
    """Do what the first visitor would wait for, where there are thousands of runs."""
    for work in app.server.config["beforehand"]:
        work()


def _give_back() -> None:
    """Give what requests left free back to the system now and then: what lives on among it keeps it else."""
    while True:
        time.sleep(_GIVEN_BACK_SECONDS)
        trim_heap()


def _trusted(proxy: str | None) -> dict[str, Any]:
    """What waitress is told of a proxy; without one nobody's headers of this kind are believed."""
    if proxy is None:
        return {}
    return {"trusted_proxy": proxy, "trusted_proxy_count": 1, "clear_untrusted_proxy_headers": True,
            "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}}  # fmt: skip


def _unavailable(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"{host}:{port} cannot be used ({error.strerror or error}): choose another with --port or --host"
    return None
