"""`python app.py`: open the dashboard.

Nothing heavy is imported here: the page is up in a second, PyTorch is loaded by the first prompt.
"""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from dpo.errors import DpoError
from dpo.evaluation.votes import DEFAULT_VOTES
from dpo.generation.remote import Remote
from dpo.policies.names import BUNDLED_RUNS, DEFAULT_RUNS, check_weights

# One thread for each stream that is being followed, and some for everything else.
_THREADS = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; 2 for a mistake on the command line."""
    parser = argparse.ArgumentParser(prog="app.py", description="The DPO workbench's dashboard.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; the default is this machine only")
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
        help="files of pairs for the Data page (default: data)",
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
    parser.add_argument(
        "--allow-training",
        action="store_true",
        help="let everybody who reaches the page train here; on this machine only, that is always so",
    )
    options = parser.parse_args(argv)
    for directory in options.runs or []:
        if not directory.is_dir():
            return _refuse(f"--runs {directory} is not a directory: check the path")
    if not 0 < options.port < 65536:
        return _refuse(f"--port {options.port}: it must be from 1 to 65535")
    if (problem := _unavailable(options.host, options.port)) is not None:
        return _refuse(problem)
    try:
        remotes = [Remote.of(text) for text in options.remote or []]
        if check_weights(options.dtype) != "fp32":  # PyTorch is asked only where it must be
            from dpo.policies.loading import weights_dtype

            weights_dtype(options.dtype)
    except DpoError as error:
        return _refuse(str(error))

    from waitress import serve

    from dpo.dashboard.application import create_app

    roots = [*(options.runs or []), DEFAULT_RUNS, BUNDLED_RUNS]
    app = create_app(
        roots, options.host, options.port, remotes, options.votes, options.data, options.allow_training, options.dtype
    )
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    shown = "127.0.0.1" if options.host in ("0.0.0.0", "::") else options.host
    print(f"DPO workbench: http://{shown}:{options.port} (Ctrl-C stops it)", flush=True)
    try:
        # A byte is sent as soon as it is there: tokens must not wait for a buffer to fill.
        serve(app.server, host=options.host, port=options.port, threads=_THREADS, send_bytes=1, ident="dpo")
    finally:
        for name in ("engine", "lens"):
            app.server.config[name].close()
    return 0


def _unavailable(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"{host}:{port} cannot be used ({error.strerror or error}): choose another with --port or --host"
    return None


def _refuse(message: str) -> int:
    print(f"app.py: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
