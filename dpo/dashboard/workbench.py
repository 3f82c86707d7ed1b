"""What the pages of one app share; two apps in one process share none of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpo.dashboard.audit_jobs import AuditJobs
from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.web.access import LOCAL, Access
from dpo.dashboard.web.names import Allowed
from dpo.dashboard.web.streams import MOST_EACH, Streams
from dpo.evaluation.votes import DEFAULT_VOTES, Votes
from dpo.evaluation.worker import LensWorker
from dpo.generation.engine import Engine
from dpo.generation.remote import Remote
from dpo.policies.names import DEFAULT_RUNS
from dpo.runs import BUNDLED_RUNS
from dpo.training.jobs import Jobs


class Workbench:
    """The runs, the data and the votes of one app, and what computes for it; `close` ends that.

    Args:
        runs: directories in which runs are looked for; nothing outside is ever changed.
        access: where the app is served, and what is allowed there.
        remotes: OpenAI-compatible servers that may be asked for answers.
        votes: the file that votes are saved in.
        data_directory: the directory of files of preference pairs that are offered.
        dtype: of the weights that answer, fp32 or bf16; Lens and training have fp32 in any case.
    """

    def __init__(
        self,
        runs: Sequence[Path | str],
        access: Access = LOCAL,
        remotes: Sequence[Remote] = (),
        votes: Path | str = DEFAULT_VOTES,
        data_directory: Path | str = "data",
        dtype: str = "fp32",
    ) -> None:
        self.access, self.remotes = access, tuple(remotes)
        self.roots = tuple(Path(root) for root in runs)
        self.runs = RunReader(self.roots)
        self.engine = Engine(dtype=dtype)
        self.lens = LensWorker()
        self.audits = AuditJobs(Path(data_directory))
        self.jobs = Jobs(own_root(self.roots))
        self.votes = Votes(votes, wait_seconds=2.0)  # a page waits with a thread of the server
        self.allowed = Allowed(access, self.roots, tuple(remote.url for remote in remotes), Path(data_directory))
        self.streams = Streams(each=None if access.local else MOST_EACH)

    def close(self) -> None:
        """End what is being computed, and remove uploaded files."""
        for service in (self.engine, self.lens, self.audits):
            service.close()


def own_root(roots: Sequence[Path]) -> Path:
    """Where new runs go: the first directory of runs that is not the bundled one."""
    bundled = BUNDLED_RUNS.resolve()
    return next((root for root in roots if root.resolve() != bundled), DEFAULT_RUNS)
