"""The Dash application: pages, routes and callbacks put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dash import Dash

from dpo.dashboard import api, compare, data, lens, runs_page, shell, training
from dpo.dashboard.compare import votes as voting
from dpo.dashboard.data.desk import Desk
from dpo.dashboard.training import launch, learn
from dpo.evaluation.votes import DEFAULT_VOTES, Votes
from dpo.evaluation.worker import LensWorker
from dpo.generation.engine import Engine
from dpo.generation.remote import Remote

ASSETS = Path(__file__).resolve().parents[2] / "assets"


def create_app(
    runs: Sequence[Path | str],
    host: str = "127.0.0.1",
    port: int = 8050,
    remotes: Sequence[Remote] = (),
    votes: Path | str = DEFAULT_VOTES,
    data_directory: Path | str = "data",
    allow_training: bool = False,
    dtype: str = "fp32",
) -> Dash:
    """The app, ready to serve; nothing heavy is imported here.

    Args:
        runs: directories in which runs are looked for.
        host, port: where it will be served, for the status bar and the check of host names.
        remotes: OpenAI-compatible servers that may be asked for answers.
        votes: the file that votes are kept in.
        data_directory: files of preference pairs that the Data page offers.
        allow_training: let pages start trainings although `host` is not this machine alone.
        dtype: of the weights that answer, fp32 or bf16; Lens and training have fp32 in any case.
    """
    roots = [Path(root) for root in runs]
    app = Dash(
        "dpo",
        title="DPO Workbench",
        update_title=None,
        assets_folder=str(ASSETS),
        serve_locally=True,
        suppress_callback_exceptions=False,
    )
    engine = Engine(dtype=dtype)
    worker = LensWorker()
    desk = Desk(Path(data_directory))

    def pages() -> list[shell.Page]:
        return [compare.page(roots, remotes), training.page(roots), lens.page(roots), data.page(desk), runs_page.page()]

    app.layout = lambda: shell.layout(pages(), f"{host}:{port}")
    shell.register(app, pages())
    compare.register(app, roots, remotes)
    training.register(app, roots)
    lens.register(app, worker, roots)
    data.register(app, desk)
    runs_page.register(app, roots, host)
    voting.register(app.server, Votes(votes), roots)
    api.register(app.server, engine, host, roots, [remote.url for remote in remotes])
    launch.register(app.server, roots, host, allow_training)
    learn.register(app.server, worker, roots)
    app.server.config["engine"] = engine
    app.server.config["lens"] = worker
    return app
