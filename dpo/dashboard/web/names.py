"""What a request may name, and what the record of a run may name when a request opens it.

A run is a directory that anybody may have written.  Its record names a base, a reference and data; its policy may be
a link.  Each is looked up here before anything opens it, so that a stranger's run reads nothing of this machine but
itself, the bundled policies, the runs beside it and the data that are offered.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dpo.dashboard.web.access import Access
from dpo.errors import ConfigError, DataError, DpoError, PolicyError, quoted
from dpo.evaluation.tuning import data_of, tuning_of
from dpo.generation.spec import PolicySpec, permitted, reference_of
from dpo.policies.names import BUNDLED, SHORT_NAMES, base_of, located
from dpo.preferences.sources import is_local
from dpo.runs import find_runs

_MOST_BASES = 4  # adapters upon adapters


def is_within(name: str | Path, places: Iterable[str | Path], itself: bool = True) -> bool:
    """Whether what a name leads to, links followed, lies in one of the directories; or, with `itself`, is one."""
    try:
        real = os.path.realpath(name)
    except ValueError:  # NUL or half a character
        return False
    found = [place for place in map(os.path.realpath, places) if Path(real).is_relative_to(place)]
    return bool(name) and any(itself or real != place for place in found)


def within(name: str, places: Iterable[str | Path], refusal: type[DpoError], itself: bool = True) -> Path:
    """The path of that name, if it `is_within` the directories: a page shows what is in them, whatever is asked for.

    Raises:
        DpoError: a `refusal`: it is elsewhere.
    """
    if not is_within(name, places, itself):
        raise refusal(f"{quoted(name, 200)} is in none of the directories shown here: start dpo serve with --runs DIR")
    return Path(name)


@dataclass(frozen=True)
class Allowed:
    """What requests may name.

    Args:
        roots: directories of runs.
        remotes: addresses of OpenAI-compatible servers.
        data: the directory of files that the Data page offers.
    """

    access: Access
    roots: tuple[Path, ...] = ()
    remotes: tuple[str, ...] = ()
    data: Path = Path("data")

    def policy(self, name: str) -> str:
        """The name itself, if what it names, and what that is built on, may be read.

        Raises:
            ConfigError: it is elsewhere.  (What is no policy is found out, and reported, by whoever opens it.)
        """
        self._check(name, self.roots, _MOST_BASES)
        return name

    def recorded(self, name: str) -> str:
        """The name itself, if a run's record may name it as what the run was trained from.

        Whoever is at this machine keeps models where he works, too; a network gets no such view.

        Raises:
            ConfigError: as for `policy`.
        """
        self._check(name, self._wider, _MOST_BASES)
        return name

    def asked_for(self, spec: PolicySpec, log_ratios: bool = False) -> PolicySpec:
        """The policy itself, if it may be asked for, with the reference that it will be measured from.

        Raises:
            ConfigError: as for `policy`.
        """
        self.policy(spec.policy)
        if spec.reference is not None:
            self.policy(spec.reference)
        elif not spec.remote and (log_ratios or spec.strength != 1.0):
            reference = reference_of(spec.policy)
            if reference is not None:
                self.recorded(reference)
        return spec

    def tuned(self, name: str, reference: str | None = None) -> str:
        """The name of a policy that will be held against its reference, or against the one given.

        Raises:
            ConfigError: as for `policy`.
        """
        self.policy(name)
        if reference is not None:
            self.policy(reference)
            return name
        with contextlib.suppress(PolicyError):
            against = tuning_of(name).reference
            if against is not None:
                self.recorded(against)
        return name

    def pairs_of(self, name: str) -> None:
        """Nothing, if the data that the run of a policy was trained on may be read.

        Raises:
            ConfigError: they are elsewhere on this machine.
        """
        try:
            data = data_of(name)
        except (PolicyError, DataError):
            return  # as with policies, whoever opens it tells
        for source in data.sources() if data is not None else ():
            self.dataset(source)

    def dataset(self, source: str) -> None:
        """Nothing, for the sample, a dataset of the hub (from the local cache unless it may be asked), an offered file.

        Raises:
            ConfigError: it is a file elsewhere on this machine.
        """
        if source == "sample" or not is_local(source) or self._readable(source):
            return
        raise ConfigError(
            f"The run names {source[:80]!r}, which is in no directory that this server reads data from: start it with "
            "--data DIR, or score the sample pairs instead"
        )

    def file(self, path: str) -> Path:
        """The whole path of a file of data that somebody names, if it may be read.

        Raises:
            ConfigError: it is elsewhere on this machine.
        """
        if not self._readable(path):
            raise ConfigError(
                f"{path[:80]} is in no directory that this server reads data from: start it with --data DIR, or upload "
                "the file"
            )
        return Path(path).expanduser().resolve()

    def _readable(self, source: str) -> bool:
        """Whether a path is below the runs or the data, or, for whoever is at this machine, where he works."""
        try:
            path = Path(source).expanduser().resolve()
            if any(path.is_relative_to(place.resolve()) for place in (*self.roots, self.data)):
                return True
            return self.access.local and path.parent == Path.cwd()
        except (OSError, ValueError, RuntimeError):
            return False

    @property
    def _wider(self) -> tuple[Path, ...]:
        return (*self.roots, Path.cwd()) if self.access.local else self.roots

    def _check(self, name: str, roots: tuple[Path, ...], most: int) -> None:
        permitted(name, roots, self.remotes, self._hub)
        name = name.strip()
        if name in BUNDLED or name.startswith(("http://", "https://")):
            return
        try:
            source = located(name)
        except PolicyError:
            return
        if source.kind == "hub":
            return
        directory = Path(source.location)
        for path in (directory, *directory.iterdir()):
            if not any(path.resolve().is_relative_to(root.resolve()) for root in roots):
                raise ConfigError(f"{name[:80]!r} is a link out of the directories of runs: copy the policy there")
        with contextlib.suppress(PolicyError):  # read only now, and reported by whoever opens it
            base = base_of(directory) if source.adapter else ""
            if base and not most:
                raise ConfigError(f"{name[:80]!r} is an adapter of too many adapters: merge it first")
            if base:
                self._check(base, self._wider, most - 1)

    def _hub(self, ident: str) -> bool:
        """Whether a model of the hub may be named: any, or those that runs shown here were trained from.

        The latter come from the local cache: a server without `--allow-hub` asks the hub for nothing.
        """
        return self.access.hub or ident in self._bases()

    def _bases(self) -> set[str]:
        names: set[str] = set()
        for run in find_runs(list(self.roots)):
            recorded = run.info.get("reference")
            names.add(str(run.config.get("model") or ""))
            names.add(str(recorded.get("identity") or "") if isinstance(recorded, dict) else "")
            try:
                names.add(base_of(run.policy_path) if run.policy_path is not None else "")
            except DpoError:
                continue  # no adapter
        return {SHORT_NAMES.get(name, name) for name in names if name}
