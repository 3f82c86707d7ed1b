"""Audits that the page asked for: made one at a time in a thread, the newest ones kept."""

from __future__ import annotations

import base64
import binascii
import contextlib
import importlib
import shutil
import tempfile
import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo.dashboard.ches_jobs import ChesJob, measure, problem_of
from dpo.errors import BusyError, DataError, DpoError, StorageError
from dpo.preferences import file_check
from dpo.preferences.reading import SUFFIXES
from dpo.preferences.sources import NAMED

if TYPE_CHECKING:
    from datasets import Dataset

    from dpo.preferences.audit import Audit, Vocabulary
    from dpo.preferences.audit.signals import Signals
    from dpo.preferences.normalise import Columns, Normalised
    from dpo.preferences.preview import Preview

MOST_UPLOAD = 50 * 2**20
"""Bytes of an uploaded file at most."""
MOST_UPLOADS = 20
"""Uploaded files that are kept; the oldest goes first."""
MOST_UPLOADED = 500 * 2**20
"""Bytes of all uploaded files."""
MOST_CHECKS = 2
"""Uploads that are read at a time to see whether they can be."""
MOST_AUDITS = 8
"""Audits that may wait."""
_MOST_DONE = 3


@dataclass
class AuditJob:
    """One audit: asked for, under way, done, or failed with a `problem`."""

    ident: str
    value: str
    """Its source among what is offered."""
    source: str
    label: str
    model: str
    columns: Columns
    step: str = "waiting"
    share: float = 0.0
    problem: str = ""
    cancelled: bool = False
    note: str = ""
    audit: Audit | None = None
    data: Normalised | None = None
    every: Dataset | None = None
    """All pairs of the source; `data` may be a sample of a large one."""
    signals: Signals | None = None
    vocabulary: Vocabulary | None = None
    preview: Preview | None = None
    ches: ChesJob | None = None
    """The newest measuring of its pairs' CHES."""
    scored: ChesJob | None = None
    """The last one that came to an end: it may be that of another policy."""
    found: dict[str, Any] = field(default_factory=dict)
    """What the table was asked for before, and its columns (`table`)."""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return bool(self.audit or self.problem)


class AuditJobs:
    """Sources on offer, uploads, and jobs.  `directory` is where files on the server are offered from."""

    def __init__(self, directory: Path) -> None:
        # Here (0.3 s) and not in an audit's thread: plotly looks into these modules whenever they are
        # in sys.modules, so that callbacks fail that answer while a thread is half through importing them.
        for name in ("pandas", "PIL.Image"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)

        self.directory = directory
        self._jobs: OrderedDict[str, AuditJob] = OrderedDict()
        self._uploads: dict[str, tuple[Path, str]] = {}
        self._paths: set[str] = set()
        self._lock = threading.Lock()
        self._working = threading.Lock()
        self._checking = threading.BoundedSemaphore(MOST_CHECKS)
        self._place: Path | None = None
        self._closed = False

    def offered(self) -> list[dict[str, Any]]:
        """Sources to choose from, in groups: names, files of the directory, uploads."""
        names = ["sample", *NAMED]
        groups = [{"group": "Datasets", "items": [{"value": name, "label": name} for name in names]}]
        if self.directory.is_dir():
            files = sorted(path for path in self.directory.rglob("*") if path.is_file() and _readable(path.name))[:500]
            items = [{"value": f"file:{path.relative_to(self.directory)}", "label": path.name} for path in files]
            if items:
                groups.append({"group": f"Files in {self.directory}", "items": items})
        with self._lock:
            uploads = [{"value": f"upload:{key}", "label": label} for key, (_, label) in self._uploads.items()]
            paths = [{"value": f"path:{path}", "label": path} for path in sorted(self._paths)]
        groups += [{"group": name, "items": items} for name, items in (("Uploads", uploads), ("Paths", paths)) if items]
        return groups

    def add(self, path: Path) -> str:
        """Offer a file that may be read, wherever it is; returns its value among `offered`.

        Raises:
            DataError: it is not there, or no file type that we read.
        """
        if not path.is_file():
            raise DataError(f"{str(path)[:200]} is not there: check the path")
        if not _readable(path.name):
            raise DataError(f"{path.name[:80]} is no {', '.join(SUFFIXES)} file: convert it to one of these")
        with self._lock:
            self._paths.add(str(path))
        return f"path:{path}"

    def receive(self, name: str, content: str) -> str:
        """Keep an uploaded file (a data URL); returns its value among `offered`.

        Raises:
            DataError: no file type that we read, too large (also when it is unpacked), or damaged.
            StorageError: there is no room for it.
            BusyError: others are being read.
        """
        if not isinstance(name, str) or not isinstance(content, str):
            raise DataError("One file at a time can be uploaded")
        if not _readable(name):
            raise DataError(f"{name[:80]} is no {', '.join(SUFFIXES)} file (or .gz of one): convert it to one of these")
        try:
            data = base64.b64decode(content.partition(",")[2], validate=True)
        except (binascii.Error, ValueError) as error:
            raise DataError(f"{name} did not arrive whole: upload it again") from error
        if len(data) > MOST_UPLOAD:
            raise DataError(f"{name} is over {MOST_UPLOAD // 2**20} MB: put it into {self.directory} instead")
        with self._lock:
            if self._closed:
                raise DataError("The dashboard is being closed")
            if self._place is None:
                self._place = Path(tempfile.mkdtemp(prefix="dpo-uploads-"))
            self._make_room(len(data))
            key = uuid.uuid4().hex[:12]
            # Under its own name in a directory of its own: a command that the page shows works as it stands there.
            path = self._place / key / Path(name).name[-200:]
            try:
                path.parent.mkdir()
                path.write_bytes(data)
            except OSError as error:
                shutil.rmtree(path.parent, ignore_errors=True)
                raise StorageError(f"{name[:80]} cannot be kept in {self._place} ({error.strerror})") from error
        self._check(path, Path(name).name)
        with self._lock:
            self._uploads[key] = (path, Path(name).name)
        return f"upload:{key}"

    def _check(self, path: Path, label: str) -> None:
        """Nothing, for a file that can be read within limits; else it is removed."""
        if not self._checking.acquire(blocking=False):
            shutil.rmtree(path.parent, ignore_errors=True)
            raise BusyError("Another upload is being read just now: try again in a moment")
        try:
            file_check.check(path)
        except BaseException as error:
            shutil.rmtree(path.parent, ignore_errors=True)
            if isinstance(error, DataError):
                raise DataError(str(error).replace(str(path), label)) from None
            raise
        finally:
            self._checking.release()

    def _make_room(self, size: int) -> None:
        """Remove the oldest uploads until one of `size` bytes has its place."""
        sizes = {key: path.stat().st_size for key, (path, _) in self._uploads.items()}
        for key in list(sizes):
            if len(sizes) < MOST_UPLOADS and sum(sizes.values()) + size <= MOST_UPLOADED:
                return
            del sizes[key]
            shutil.rmtree(self._uploads.pop(key)[0].parent, ignore_errors=True)

    def look(self, value: str, columns: Columns) -> Preview | None:
        """The head of an offered source; None if it would have to be fetched first.

        Raises:
            DataError: it is not offered (any more), or cannot be read.
        """
        from dpo.preferences.preview import preview

        source, label = self._resolve(value)
        if source in NAMED:
            return None
        try:
            return preview(source, columns=columns)
        except DataError as error:
            raise DataError(str(error).replace(source, label)) from error

    def label(self, value: str) -> str:
        """What an offered source is called in a sentence; the value itself if it is not offered."""
        try:
            return self._resolve(value)[1]
        except DataError:
            return value

    def named(self, value: str) -> str:
        """What a command on this machine calls an offered source: its name or the path of its file."""
        try:
            return self._resolve(value)[0]
        except DataError:
            return value

    def start(self, value: str, model: str, columns: Columns) -> AuditJob:
        """Begin an audit of an offered source.

        Raises:
            DataError: it is not offered (any more).
            BusyError: too many wait.
        """
        source, label = self._resolve(value)
        job = AuditJob(uuid.uuid4().hex[:12], value, source, label, model, columns)
        with self._lock:
            self._check_room()
            self._jobs[job.ident] = job
            for old in [key for key, known in self._jobs.items() if known.over][: -_MOST_DONE or None]:
                _end_measuring(self._jobs.pop(old))
        threading.Thread(target=self._work, args=(job,), name=f"audit-{job.ident}", daemon=True).start()
        return job

    def measure_ches(self, ident: str | None, policy: str) -> ChesJob:
        """Begin to measure the CHES of an audit's pairs under a policy; what was being measured of them is cancelled.

        Raises:
            DataError: the audit is not kept (any more).
            BusyError: too many wait.
        """
        with self._lock:
            job = self._jobs.get(ident or "")
            if job is None or job.audit is None:
                raise DataError("This audit is no longer kept: start it again")
            _end_measuring(job)
            self._check_room()
            job.ches = asked = ChesJob(policy)
        threading.Thread(target=self._measure, args=(job, asked), name=f"ches-{job.ident}", daemon=True).start()
        return asked

    def _check_room(self) -> None:
        waiting = sum(not known.over for known in self._jobs.values())
        waiting += sum(known.ches is not None and not known.ches.over for known in self._jobs.values())
        if waiting > MOST_AUDITS:
            raise BusyError(f"{MOST_AUDITS} audits are waiting already: try again in a moment")

    def _measure(self, job: AuditJob, asked: ChesJob) -> None:
        with self._working:
            try:
                assert job.audit is not None and job.data is not None
                job.audit, scores = measure(asked, job.audit, job.data)
                asked.scores, job.scored = scores, asked
                job.found = {}  # what the table was asked for before knew of no CHES, or of another policy's
                asked.done = True
            except Exception as error:  # shown in the page rather than lost in a thread
                asked.problem = problem_of(error)

    def job(self, ident: str | None) -> AuditJob | None:
        """The job of that name, while it is kept."""
        with self._lock:
            return self._jobs.get(ident or "")

    def cancel(self, ident: str | None) -> None:
        """End an audit, or the measuring of its pairs, where it next says how far it is."""
        job = self.job(ident)
        if job is not None and job.over:
            _end_measuring(job)
        elif job is not None:
            job.cancelled = True

    def close(self) -> None:
        """Remove the uploads; no more are taken."""
        with self._lock:
            self._closed = True
            self._uploads.clear()
            if self._place is not None:
                shutil.rmtree(self._place, ignore_errors=True)

    def _resolve(self, value: str) -> tuple[str, str]:
        kind, _, rest = value.partition(":")
        if kind == "upload":
            with self._lock:
                if rest in self._uploads:
                    path, label = self._uploads[rest]
                    return str(path), label
        elif kind == "file":
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # too long, a NUL, a loop of links
                path = (self.directory / rest).resolve()
                if path.is_relative_to(self.directory.resolve()) and path.is_file() and _readable(path.name):
                    return str(path), rest
        elif kind == "path":
            with self._lock:
                if rest in self._paths:
                    return rest, rest
        elif value in NAMED or value == "sample":
            return value, value
        raise DataError(f"{value[:80] or 'Nothing'} is not on offer: choose a dataset from the list")

    def _work(self, job: AuditJob) -> None:
        def tell(step: str, share: float) -> None:
            job.step, job.share = step, share
            if job.cancelled:
                raise DataError("The audit was cancelled")

        with self._working:
            try:
                tell("starting", 0.0)
                from dpo.preferences.audit import audit
                from dpo.preferences.audit.pipeline import MOST_PAIRS
                from dpo.preferences.audit.signals import measure
                from dpo.preferences.normalise import normalise
                from dpo.preferences.preview import preview

                job.preview = preview(job.source, columns=job.columns)
                data = normalise(
                    job.source, columns=job.columns, progress=lambda rows: tell(f"reading rows ({rows:,})", 0.0)
                )
                job.every = data.pairs
                data = data.drawn(MOST_PAIRS)
                signals = measure(data.pairs, 0.05, tell)
                job.vocabulary = self._vocabulary(job, data)
                job.data, job.signals = data, signals
                known = [job.vocabulary] if job.vocabulary else []
                job.audit = audit(data, known, signals=signals, progress=tell)
            except Exception as error:  # shown in the page rather than lost in a thread
                job.problem = problem_of(error, "audit").replace(job.source, job.label)

    def _vocabulary(self, job: AuditJob, data: Normalised) -> Vocabulary | None:
        from dpo.policies.vocabulary import load_vocabulary

        texts = (text for side in ("chosen", "rejected") for text in data.pairs[:5000][side])
        try:
            return load_vocabulary(job.model, texts)
        except DpoError as error:
            job.note = f"Tokens are left out: {error}"
            return None


def _end_measuring(job: AuditJob) -> None:
    if job.ches is not None:
        job.ches.cancelled = True


def _readable(name: str) -> bool:
    from dpo.preferences.reading import kind_of

    return bool(kind_of(Path(name)))
