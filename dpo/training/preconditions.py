"""What has to hold before a run may begin: its directory, its device, its trackers, its processes."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from dpo.errors import ConfigError, RunError, StorageError
from dpo.policies.loading import Policy
from dpo.processes import process_count, process_index
from dpo.runs import Run, open_run
from dpo.runs.record import LOCK
from dpo.training.checkpoints import tidy_staging
from dpo.training.config import CommonConfig, RunConfig, TrainConfig
from dpo.training.settings import make, stored_run

SCRATCH = ".scratch-"
# What a killed process may leave beside the run: tokenised data, a half-saved folder, a half-written record.
_LEFTOVER = re.compile(
    rf"{re.escape(SCRATCH)}.*|audit\.json\.part|\.saving|\.(run|metrics|samples|audit|note)\.jsonl?\.[0-9.]+"
)
Config = TypeVar("Config", bound=RunConfig)


def reference_kind(policy: Policy, config: RunConfig) -> dict[str, str] | None:
    """What a run's record says of its reference; None for supervised fine-tuning, which has none."""
    if not isinstance(config, TrainConfig):
        return None
    if config.sync_ref_model:
        kind = "copy that follows the policy"
    elif policy.model is policy.network:
        kind = "frozen copy"
    else:
        kind = "adapter off" if config.lora else "copy of the adapter"
    return {"kind": kind, "identity": config.model}


def check_trackers(names: list[str]) -> None:
    """Refuse a tracker that is not installed.

    Raises:
        ConfigError: with the way to install it.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"--report-to {name}: it is not installed; pip install 'dpo-workbench[{name}]'")


def check_launcher() -> None:
    """Refuse a launcher's wish for DeepSpeed where it is not installed; Accelerate would end with a trace.

    Raises:
        ConfigError: with the ways out.
    """
    wanted = os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() in ("1", "true", "yes")
    if wanted and importlib.util.find_spec("deepspeed") is None:
        raise ConfigError(
            "The launcher asks for DeepSpeed, which is not installed: pip install deepspeed (which no test has run), "
            "or split the weights with FSDP: accelerate launch --config_file configs/launch/fsdp.yaml"
        )


def claim(directory: Path) -> FileLock:
    """Hold the run's directory until the process ends, so that no second run writes into it.

    What a process that was killed left half written is removed.

    Raises:
        RunError: a living process holds it.
        StorageError: it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / LOCK)
        lock.acquire(timeout=0.5)  # whoever looks whether it is held holds it for a moment
    except Timeout:
        raise RunError(
            f"Another process is training into {directory} now: wait for it, or name another --output-dir"
        ) from None
    except OSError as error:
        raise StorageError(f"{directory} cannot be written ({error.strerror}): name another --output-dir") from error
    tidy_staging(directory)
    for path in _leftovers(directory):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return lock


def _leftovers(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if _LEFTOVER.fullmatch(path.name)]


def _empty(directory: Path) -> bool:
    """Whether nothing of worth is in it."""
    return {path.name for path in directory.iterdir()} <= {LOCK, *(path.name for path in _leftovers(directory))}


def release(lock: FileLock, directory: Path) -> None:
    """Let the directory go; one that stayed empty is removed."""
    lock.release()
    if directory.is_dir() and _empty(directory):
        (directory / LOCK).unlink(missing_ok=True)
        directory.rmdir()


def with_resume(config: Config) -> tuple[Config, Run | None]:
    """The config to run and the run to go on with, if any.

    Raises:
        RunError: there is nothing to resume, or what it trains on at a time cannot be shared by these processes.
    """
    if config.resume is None:
        return config, None
    directory = Path(config.resume)
    run = stored_run(directory)
    if run.state == "running" and process_index() == 0:
        raise RunError(f"{directory} is running now (process {run.info.get('pid')}): wait, or stop it first")
    if run.state == "finished":
        raise RunError(f"{directory} is finished: start a new run from it with --model {directory}")
    stored = run.config | {"resume": str(directory), "output_dir": str(directory)}
    return _spread(make(type(config), stored), run), run


def _spread(config: Config, run: Run) -> Config:
    """The config with a batch for each process of now, so that an update has the pairs that it had at the start.

    Raises:
        RunError: they cannot be shared out evenly.
    """
    then, now = run.info.get("processes"), process_count()
    if then is None or then == now or not isinstance(config, CommonConfig):
        return config  # an older record does not say; pretraining counts tokens
    batch = config.batch_size
    if then * batch % now:
        able = [count for count in range(1, then * batch + 1) if then * batch % count == 0]
        raise RunError(
            f"{config.resume} trains on {then * batch} at a time ({then} processes with {batch} each), which {now} "
            f"cannot share evenly: resume it with {', '.join(map(str, able))}"
        )
    return dataclasses.replace(config, batch_size=then * batch // now)


def refuse_existing(directory: Path, config: RunConfig) -> None:
    """Never write over what is there.

    Raises:
        RunError: the directory holds a run, or something else.
    """
    if not directory.exists() or (directory.is_dir() and _empty(directory)):
        return
    if not (directory / "run.json").is_file():
        raise RunError(f"--output-dir {directory} exists and is not a run: name a new or empty directory")
    run = open_run(directory)
    stored: dict[str, Any] = run.info.get("config") or {}
    current = dataclasses.asdict(config)
    # A rate that was not given is filled in by family later on.
    same = {"learning_rate"} if getattr(config, "learning_rate", None) is None else set()
    differing = [name for name in current if name in stored and stored[name] != current[name] and name not in same]
    if differing:
        raise RunError(
            f"--output-dir {directory} belongs to a run with another config ({', '.join(differing[:4])} differ): "
            "name another directory"
        )
    raise RunError(
        f"--output-dir {directory} holds this run already ({run.state}): add --resume to go on, or name another"
    )
