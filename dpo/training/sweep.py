"""Sweeps: many runs of `dpo train`, shared by any number of workers through one Optuna database.

All trials are entered as waiting ones when the sweep begins.  A worker takes one, trains it in a
process of its own and enters what came of it; so the number of trials is exact, none runs twice,
and a kill loses one trial at most.  Pruning compares held-out measures as they are logged.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import yaml
from filelock import FileLock
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from dpo.errors import ConfigError, DpoError, RunError, StorageError
from dpo.processes import interruptible, start_python
from dpo.runs import Run, open_run
from dpo.training.config import BEST_BY
from dpo.training.job_files import last_line
from dpo.training.sweep_plan import Choices, SweepPlan, write_plan
from dpo.training.sweep_storage import database_errors, open_storage
from dpo.training.sweep_workers import is_here, lives, placed

_POLL = 0.5  # seconds between two looks at a training
_BEAT = 10.0  # seconds between two signs of life of a worker
# A worker elsewhere that gave none for so long is taken for dead (by the observer's own clock).
STALE = 90.0
_SET_UP = 120.0


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.  `state` is finished, pruned, failed, running or waiting."""

    number: int
    params: dict[str, Any]
    state: str
    value: float | None
    reason: str | None
    directory: str | None


@dataclass
class Sweep:
    """One worker's view of a sweep.

    Args:
        plan: what to try.
        directory: the runs are written below it.
        storage: URL of the database; all workers of a sweep name the same one.
        say: gets one line for each thing that happens.
    """

    plan: SweepPlan
    directory: Path
    storage: str
    say: Callable[[str], None] = print
    _seen: dict[int, tuple[Any, float]] = field(default_factory=dict)
    _beats: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / ".trials").mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.directory} cannot be written ({error.strerror}): name another --dir") from error
        with database_errors(self.storage), self._alone():
            self._database = open_storage(self.storage)
            self._set_up()
        write_plan(self.plan, self.directory)

    def run(self) -> list[Outcome]:
        """Take trials until none is left, wait for those of other workers, return all outcomes.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; the trial under way is saved and given back.
            RunError: no trial brought a result.
            StorageError: the database is damaged, held by another program, or gone.
        """
        announced = False
        with database_errors(self.storage), interruptible():
            while True:
                self._settle()
                if (trial := self._take()) is not None:
                    self._train(trial)
                elif others := self._count(TrialState.RUNNING):
                    if not announced:
                        self.say(f"Nothing left to begin; waiting for {others} under way elsewhere")
                        announced = True
                    time.sleep(_POLL)
                elif not self._count(TrialState.WAITING):
                    break
            found = self.outcomes()
        if not any(outcome.value is not None for outcome in found):
            raise RunError(f"None of the {len(found)} trials finished; the first: {found[0].reason}")
        return found

    def outcomes(self) -> list[Outcome]:
        """All trials by number."""
        words = {TrialState.COMPLETE: "finished", TrialState.FAIL: "failed"}
        return [
            Outcome(
                trial.number, trial.params, words.get(trial.state, trial.state.name.lower()),
                trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
                trial.user_attrs.get("reason") if trial.state != TrialState.COMPLETE else None,
                trial.user_attrs.get("directory"),
            )
            for trial in self._study().get_trials(deepcopy=False)
        ]  # fmt: skip

    # -- the database

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One worker at a time: SQLite has no lock on a row, so two could take the same trial."""
        if not self.storage.startswith("sqlite:///"):
            yield
            return
        with FileLock(self.storage.removeprefix("sqlite:///") + ".lock"):
            yield

    def _set_up(self) -> None:
        """Enter all trials, or check that the sweep in the database is this one."""
        goal = "maximize" if self.plan.more_is_better else "minimize"
        try:
            study = optuna.create_study(storage=self._database, study_name=self.plan.name, direction=goal)
        except optuna.exceptions.DuplicatedStudyError:
            self._same_sweep()
            return
        for params in self._fixed():
            study.enqueue_trial(params)
        study.set_user_attr("plan", self.plan.as_json())

    def _fixed(self) -> list[dict[str, Any]]:
        """The values that are settled from the start: all of a grid; draws without repeats from a finite space."""
        points = self.plan.combinations() if self.plan.method != "tpe" else None
        if points is None:
            return [{} for _ in range(self.plan.trials)]
        return points if self.plan.method == "grid" else random.Random(self.plan.seed).sample(points, self.plan.trials)

    def _same_sweep(self) -> None:
        began = time.monotonic()
        while (stored := self._study().user_attrs.get("plan")) is None:
            if time.monotonic() - began > _SET_UP or self.storage.startswith("sqlite"):
                raise RunError(
                    f"The sweep {self.plan.name} in {self.storage} was never set up fully: use another name or storage"
                )
            time.sleep(_POLL)
        mine = self.plan.as_json()
        if changed := [name for name in mine if mine[name] != stored.get(name)]:
            raise ConfigError(
                f"The sweep {self.plan.name} in {self.storage} began with another {', '.join(changed)}: "
                "give this one another 'name:', or restore the file"
            )

    def _study(self, number: int = 0) -> optuna.Study:
        # A seed for each trial: workers that start alike must not draw alike.
        seed = self.plan.seed * 100_003 + number
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed)
        if self.plan.method == "tpe":
            startup = min(10, max(3, self.plan.trials // 3))
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
        pruners: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
            "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=min(5, max(2, self.plan.trials // 4))),
            "halving": optuna.pruners.SuccessiveHalvingPruner,
            "none": optuna.pruners.NopPruner,
        }
        return optuna.load_study(
            study_name=self.plan.name, storage=self._database, sampler=sampler, pruner=pruners[self.plan.pruning]()
        )

    def _count(self, state: TrialState) -> int:
        return len(self._study().get_trials(deepcopy=False, states=(state,)))

    def _take(self) -> Trial | None:
        with self._alone():
            for waiting in self._study().get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                with contextlib.suppress(UpdateFinishedTrialError):
                    if self._database.set_trial_state_values(waiting._trial_id, TrialState.RUNNING):
                        trial = Trial(self._study(waiting.number), waiting._trial_id)
                        trial.set_user_attr("worker", placed(os.getpid()) | {"beat": 0})
                        return trial
        return None

    # -- one trial

    def _train(self, trial: Trial) -> None:
        """Train in a process of its own, report and prune on the way, enter the result."""
        directory = self.directory / f"{self.plan.name}-{trial.number:03d}"
        try:
            params = self._draw(trial)
            trial.set_user_attr("directory", str(directory))
        except UpdateFinishedTrialError:
            self._say_settled(trial, directory)
            return
        tried = ", ".join(f"{name}={value}" for name, value in params.items())
        self.say(f"Trial {trial.number + 1} of {self.plan.trials}: {tried}")
        log = self.directory / ".trials" / f"{trial.number:03d}.log"
        command = self._command(trial, params, directory)
        with log.open("ab") as file:
            # A session of its own: Ctrl-C reaches it through us, once.
            child = start_python(command, file)
            self._note(trial, "child", placed(child.pid))
            try:
                pruned = self._watch(trial, child, directory)
            except KeyboardInterrupt:
                self._give_back(trial, child, directory)
                raise
        value = self._value(directory) if child.returncode == 0 else None
        state, reason = None, None
        if pruned:
            state, reason = TrialState.PRUNED, "pruned: worse than the trials before it at the same step"
            value, outcome = None, f"pruned, {directory}"
        elif value is not None:
            outcome = f"{self.plan.measure} {value:.4g}, {directory}"
        else:
            printed = log.read_text(encoding="utf-8", errors="replace")
            reason = last_line(printed) if child.returncode else f"it logged no held-out {self.plan.measure}"
            state, outcome = TrialState.FAIL, f"failed: {reason}"
        if self._enter(trial, value, state, reason):
            self.say(f"  {outcome}")
        else:
            self._say_settled(trial, directory)

    def _enter(
        self,
        trial: Trial | FrozenTrial,
        value: float | None,
        state: TrialState | None = None,
        reason: str | None = None,
    ) -> bool:
        """Enter what came of a trial; False if another worker has done so: on a server two can come at once."""
        try:
            if reason is not None:
                self._database.set_trial_user_attr(trial._trial_id, "reason", reason)
            self._study().tell(trial.number, value, state=state)
        except (UpdateFinishedTrialError, ValueError):  # Optuna's two words for it
            if not self._database.get_trial(trial._trial_id).state.is_finished():
                raise
            return False
        return True

    def _note(self, trial: Trial, name: str, value: Any) -> None:
        """Write it beside the trial, unless another worker has settled that: `_enter` finds out."""
        with contextlib.suppress(UpdateFinishedTrialError):
            trial.set_user_attr(name, value)

    def _say_settled(self, trial: Trial, directory: Path) -> None:
        reason = self._database.get_trial(trial._trial_id).user_attrs.get("reason", "finished")
        kept = f"; its run stays in {directory}" if self._state(directory) else ""
        self.say(f"  another worker settled trial {trial.number + 1} in the meantime ({reason}): not entered{kept}")

    def _draw(self, trial: Trial) -> dict[str, Any]:
        drawn: dict[str, Any] = {}
        for name, part in self.plan.search.items():
            if isinstance(part, Choices):
                drawn[name] = trial.suggest_categorical(name, part.values)
            elif part.whole:
                drawn[name] = trial.suggest_int(name, int(part.low), int(part.high), step=int(part.step or 1),
                                                log=part.log)  # fmt: skip
            else:
                drawn[name] = trial.suggest_float(name, part.low, part.high, step=part.step, log=part.log)
        return drawn

    def _command(self, trial: Trial, params: dict[str, Any], directory: Path) -> list[str]:
        start = ["-m", "dpo", "train"]
        with contextlib.suppress(DpoError):
            if open_run(directory).state in ("stopped", "interrupted"):  # given back by a stopped worker
                return [*start, "--resume", str(directory)]
        config = self.directory / ".trials" / f"{trial.number:03d}.yaml"
        config.write_text(yaml.safe_dump(self.plan.values(params), sort_keys=False), encoding="utf-8")
        return [*start, "--config", str(config), "--output-dir", str(directory)]

    def _watch(self, trial: Trial, child: subprocess.Popen[bytes], directory: Path) -> bool:
        """Follow the training to its end; whether it was pruned."""
        name = BEST_BY[self.plan.measure][0]
        reported = set(self._database.get_trial(trial._trial_id).intermediate_values)
        run: Run | None = None
        pruned = False
        for _ in self._wait(trial, child):
            if run is None:
                with contextlib.suppress(DpoError):
                    run = open_run(directory)
            if run is None or pruned:
                continue
            for step, value in zip(*run.metrics().series(name), strict=True):
                if step > 0 and int(step) not in reported:
                    reported.add(int(step))
                    with contextlib.suppress(UpdateFinishedTrialError):  # settled by another worker
                        trial.report(value, int(step))
                        if not pruned and child.poll() is None and trial.should_prune():
                            pruned = True
                            child.terminate()  # finishes the step, saves, ends
        return pruned and self._state(directory) != "finished"

    def _wait(self, trial: Trial, child: subprocess.Popen[bytes]) -> Iterator[None]:
        """Come back twice a second until the training has ended; signs of life go out meanwhile."""
        beaten = time.monotonic()
        while child.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_POLL)
            if time.monotonic() - beaten > _BEAT:
                beaten = time.monotonic()
                self._note(trial, "worker", placed(os.getpid()) | {"beat": next(self._beats)})
            yield

    def _give_back(self, trial: Trial, child: subprocess.Popen[bytes], directory: Path) -> None:
        """After Ctrl-C: let the training save and end; the trial waits for whoever calls the same command."""
        self.say("\nStopping: the trial under way is saved first (once more to stop at once)")
        child.terminate()
        try:
            for _ in self._wait(trial, child):  # saving may take longer than STALE
                pass
        except KeyboardInterrupt:
            child.kill()
            child.wait()
        value = self._value(directory) if self._state(directory) == "finished" else None
        settled = value is not None and not self._enter(trial, value)
        if value is None:
            for name in ("worker", "child"):  # or the next worker would look dead until it has signed
                self._note(trial, name, None)
            try:
                self._database.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            except UpdateFinishedTrialError:
                settled = True
        if settled:
            self._say_settled(trial, directory)

    # -- what others left

    def _settle(self) -> None:
        """Enter the result of trials whose worker is gone: finished by themselves, or lost."""
        for trial in self._study().get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not self._deserted(trial):
                continue
            directory = trial.user_attrs.get("directory")
            value = self._value(Path(directory)) if directory and self._state(Path(directory)) == "finished" else None
            with self._alone():
                now = self._database.get_trial(trial._trial_id)
                if now.state != TrialState.RUNNING or not self._deserted(now):
                    continue
                worker = trial.user_attrs.get("worker") or {}
                reason = f"lost: its worker (process {worker.get('pid')} on {worker.get('host')}) is gone"
                state = TrialState.FAIL if value is None else None
                if self._enter(now, value, state, reason if value is None else None):
                    what = "failed" if value is None else "finished"
                    self.say(f"Trial {trial.number + 1}, whose worker is gone: {what}")

    def _deserted(self, trial: FrozenTrial) -> bool:
        """Neither its worker nor its training lives: here by process, elsewhere by a sign of life that stays out."""
        worker, child = trial.user_attrs.get("worker"), trial.user_attrs.get("child")
        if worker and is_here(worker):
            return not (lives(worker) or lives(child))
        # With the time it was taken: one that was given back has no worker for a moment, each time.
        sign = (worker, trial.datetime_start)
        seen, since = self._seen.get(trial.number, (None, 0.0))
        if seen != sign:
            self._seen[trial.number] = (sign, time.monotonic())
            return False
        return time.monotonic() - since > STALE

    def _state(self, directory: Path) -> str | None:
        try:
            return open_run(directory).state
        except DpoError:
            return None

    def _value(self, directory: Path) -> float | None:
        """The held-out measure of the policy that was kept: the best one if the run kept it by this measure."""
        try:
            run = open_run(directory)
        except DpoError:
            return None
        best = run.info.get("best") or {}
        value = best.get("value") if best.get("by") == self.plan.measure else None
        if value is None:
            value = run.metrics().last(BEST_BY[self.plan.measure][0])
        return float(value) if value is not None and math.isfinite(value) else None
