"""Run directories as full disks, other programs and hostile hands leave them: seeded, 300 of them different."""

from __future__ import annotations

import copy
import json
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from events import scalar

Damage = Callable[[Path], None]
ROWS = [
    {
        "step": step, "time": step * 1.5, "examples": step * 8, "epoch": step / 9, "tokens": step * 900,
        "loss": 0.69 - 0.01 * step, "rewards/chosen": 0.1, "rewards/rejected": -0.1 * step, "rewards/margins": 0.1,
        "rewards/accuracies": 0.5, "grad_norm": 1.0, "eval_loss": 0.6, "eval_kl": 0.1, "eval_rewards/margins": 0.1,
    }
    for step in range(9)
]  # fmt: skip
SAMPLES = [{"step": step, "index": 0, "prompt": "p", "policy": "a b c", "reference": "d e f"} for step in (0, 8)]
RECORD: dict[str, Any] = {
    "format": 1, "created": "2026-11-25T00:00:00+00:00", "updated": "2026-11-25T00:00:00+00:00", "name": "a run",
    "kind": "dpo", "family": "gpt2", "state": "finished", "reason": None, "pid": None, "host": None,
    "config": {
        "model": "demo/gpt2", "beta": 0.1, "learning_rate": 1e-5, "dataset": "sample", "loss_type": ["sigmoid"],
        "max_grad_norm": 1.0, "kl_budget": None, "lora": True, "batch_size": 8, "seed": 0, "eval_fraction": 0.1,
    },
    "dataset": {"source": "pairs.jsonl", "train": 90, "held_out": 10, "fingerprint": "ab"},
    "policy": {"model": "demo/gpt2", "parameters": 1000, "added_tokens": 0}, "reference": {"identity": "demo/gpt2"},
    "step_zero": {"loss": 0.6931, "expected": 0.6931, "passed": True, "max_logp_gap": 0.0},
    "progress": {"step": 8, "max_steps": 9, "examples": 64, "seconds": 12.0}, "best": {"step": 4, "by": "loss"},
    "energy_wh": 0.5, "training_seconds": 12.0, "versions": {"torch": "2"},
}  # fmt: skip
AUDIT = {"findings": [{"code": "shortcut-emoji", "evidence": {"rule": "emoji", "accuracy": 0.9, "pairs": 5}}]}
STATE = {"global_step": 8, "max_steps": 9, "train_batch_size": 2, "log_history": ROWS[1:]}
LINES = ("metrics.jsonl", "samples.jsonl", "hardware.jsonl")
OBJECTS = ("run.json", "note.json", "audit.json", "checkpoint-8/trainer_state.json", "policy/config.json")
DEEP = "[" * 100_000 + "]" * 100_000
# In the place of any value of any file.
VALUES: list[Any] = [
    None, True, 0, -1, 1.5, -1e308, 1e308, float("nan"), float("inf"), 2**40, 2**70, 10**400, "", "0.1", "x" * 300_000,
    "\ud800", "a\0b", "\x1b[31mred\x1b[0m", "two\nlines", "=HYPERLINK(1)", "²", [], [1], ["x", {"a": 1}], {}, {"a": 1},
    json.loads("[" * 300 + "]" * 300),
]  # fmt: skip
# In the place of any file.
CONTENTS: list[bytes] = [
    b"", b"[]\n", b"null\n", b'"x"\n', b"5\n", b"\0" * 5_000, b'{"step": 1, "name": "\xff\xfe"}\n',
    DEEP.encode() + b"\n",
    b'{"step": 1, "loss": 1' + b"0" * 400 + b"}\n", b'{"step": 1, "loss": 1' + b"0" * 5_000 + b"}\n",
    b'{"step": 1' + b"0" * 400 + b', "loss": 1}\n', b'{"step": 1e300, "loss": 1}\n', b'{"step": -5, "loss": 1}\n',
    b'{"step": 1, "": 2, "=1+1": 3, "\\ud800": 4}\n', b"{" + b'"x": {' * 50_000 + b"\n",
    b'{"step": 1, ' + b", ".join(b'"m%d": 1' % place for place in range(5_000)) + b"}\n",
    b'{"step": 1, "loss": "' + b"x" * 3_000_000 + b'"}\n', b'{"step": 1, "x": ' + b"[" * 400_000 + b"}\n",
    b'{"step": 1, "time": -1e18, "loss": 1}\n{"step": 2, "time": 1e18, "loss": 1e308}\n', b'{"name": "a"',
    b'{"config": {' + b", ".join(b'"s%d": 1' % place for place in range(5_000)) + b"}}\n",
]  # fmt: skip
FOLDERS = [
    "bad\nname\x1b[31m", "=1+1", "bad\udcff\udcfe", "x" * 240, "-rf", " ", "a;b", "%2e%2e", "bad\u202egnp.exe", "ünï",
]  # fmt: skip
CHECKPOINTS = [
    "checkpoint-²", "checkpoint-٣", "checkpoint-" + "9" * 200, "checkpoint--1", "checkpoint-", "checkpoint-1e5",
]  # fmt: skip


def write_run(directory: Path, **more: Any) -> Path:
    """A sound run with every file that a run may have."""
    (directory / "policy").mkdir(parents=True)
    (directory / "checkpoint-8").mkdir()
    for name, content in (
        ("run.json", RECORD | more), ("note.json", {"note": "n"}), ("audit.json", AUDIT),
        ("checkpoint-8/trainer_state.json", STATE), ("policy/config.json", {"model_type": "gpt2", "n_positions": 64}),
    ):  # fmt: skip
        (directory / name).write_text(json.dumps(content))
    hardware = [{"time": step, "step": step, "memory": 1.0, "power": 30.0, "wh": 0.1} for step in range(9)]
    for name, rows in (("metrics.jsonl", ROWS), ("samples.jsonl", SAMPLES), ("hardware.jsonl", hardware)):
        (directory / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def damaged(seed: int, directory: Path) -> tuple[Path, str]:
    """Make the damaged run of that seed in `directory`; returns where it lies and what was done to it."""
    draw = random.Random(seed)
    kind = draw.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
    path, what = KINDS[kind][0](directory, draw)
    return path, f"seed {seed}: {kind} ({what[:120]!r})"


def _value(directory: Path, draw: random.Random) -> tuple[Path, str]:
    """One value, somewhere in one of the files, is another one."""
    write_run(directory)
    name = draw.choice([*OBJECTS, "run.json", "run.json", *LINES])
    path = directory / name
    lines = path.read_text().splitlines() if name in LINES else [path.read_text()]
    place = draw.randrange(len(lines))
    content = json.loads(lines[place])
    value = copy.deepcopy(draw.choice(VALUES))
    what = _replace(content, value, draw)
    lines[place] = json.dumps(content)
    path.write_text("\n".join(lines) + "\n")
    if draw.random() < 0.3:  # what counts only while a run is under way
        info = json.loads((directory / "run.json").read_text())
        info |= {"state": "running", "host": socket.gethostname(), "pid": draw.choice(VALUES[:12])}
        (directory / "run.json").write_text(json.dumps(info))
    return directory, f"{name} {what} = {str(value)[:40] if not isinstance(value, int) else type(value)}"


def _replace(content: Any, value: Any, draw: random.Random) -> str:
    key = draw.choice(list(content) if isinstance(content, dict) else range(len(content)))
    inner = content[key]
    if isinstance(inner, dict | list) and inner and draw.random() < 0.7:
        return f"{key}.{_replace(inner, value, draw)}"
    content[key] = value
    return str(key)


def _content(directory: Path, draw: random.Random) -> tuple[Path, str]:
    """One file holds something else."""
    write_run(directory)
    name = draw.choice([*OBJECTS, *LINES, *LINES])
    content = draw.choice([*CONTENTS, draw.randbytes(4_000)])
    keep = name in LINES and draw.random() < 0.5
    with (directory / name).open("ab" if keep else "wb") as file:
        file.write(content)
    return directory, f"{name} {content[:40]!r}"


def _bytes(directory: Path, draw: random.Random) -> tuple[Path, str]:
    """Some bytes of a file are other ones, or its end is missing."""
    write_run(directory)
    name = draw.choice([*OBJECTS, *LINES])
    content = bytearray((directory / name).read_bytes())
    for _ in range(draw.randint(1, 8)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    if draw.random() < 0.5:
        del content[draw.randrange(len(content)) :]
    (directory / name).write_bytes(content)
    return directory, name


def _special(directory: Path, draw: random.Random) -> tuple[Path, str]:
    """A file is none: a pipe, a link to itself, a folder, a device, or not to be read."""
    write_run(directory)
    name = draw.choice([*OBJECTS, *LINES, *LINES, ".lock", "events.out.tfevents.1.x", "trainer_state.json"])
    path, kind = directory / name, draw.choice(["pipe", "loop", "folder", "zero", "full", "foreign", "gone"])
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "gone":
        os.symlink({"loop": path.name, "zero": "/dev/zero", "full": "/dev/full", "foreign": "/etc/passwd"}[kind], path)
    if draw.random() < 0.4 and name != "run.json":  # another tool's directory
        (directory / "run.json").unlink()
    return directory, f"{kind} {name}"


def _name(directory: Path, draw: random.Random) -> tuple[Path, str]:
    """A folder or a checkpoint has a name that nobody expects, or is a link that leads back."""
    if draw.random() < 0.5:
        name = draw.choice(FOLDERS)
        return write_run(directory.with_name(f"{directory.name}{name}")), name
    if draw.random() < 0.3:
        to = draw.choice(["..", "/", directory.name, "nowhere", "../.."])
        os.symlink(to, directory)
        return directory, f"a link to {to}"
    write_run(directory)
    name = draw.choice(CHECKPOINTS)
    (directory / name).mkdir()
    (directory / name / "trainer_state.json").write_text(json.dumps(STATE))
    return directory, name


def _events(directory: Path, draw: random.Random) -> tuple[Path, str]:
    """An event file with damaged records, the first one among them, or with records that say nonsense."""
    directory.mkdir()
    draws = [(step, wall) for step in (0, 1, 5, -1, 2**62) for wall in (1000.0, float("nan"), 1e300)]
    picked = draw.sample(draws, 4)
    records = [scalar("train/loss", step, 0.5, wall) for step, wall in [*picked, *((s, 1000.0 + s) for s in range(9))]]
    damage = draw.choice(["first", "some", "length", "cut", "none"])
    if damage == "first":
        records[0] = records[0][:14] + b"\xff" + records[0][15:]
    elif damage == "length":
        records[0] = b"\xff" * 8 + records[0][8:]
    content = bytearray(b"".join(records))
    if damage == "some":
        for _ in range(draw.randint(1, 40)):
            content[draw.randrange(len(content))] = draw.randrange(256)
    elif damage == "cut":
        del content[draw.randrange(len(content)) :]
    (directory / "events.out.tfevents.1.x").write_bytes(content)
    return directory, damage


def _foreign(directory: Path, draw: random.Random) -> tuple[Path, str]:
    """A Trainer's output directory with a damaged state."""
    (directory / "checkpoint-8").mkdir(parents=True)
    state = copy.deepcopy(STATE)
    what = _replace(state, copy.deepcopy(draw.choice(VALUES)), draw)
    wrong = '{"log_history": [1, null, {"step": "x"}]}'
    text = draw.choice([json.dumps(state), DEEP, "[]", '{"log_history": 5}', wrong])
    (directory / "checkpoint-8" / "trainer_state.json").write_text(text)
    (directory / "config.json").write_text(draw.choice(['{"is_encoder_decoder": true}', DEEP, "[]", "\0"]))
    return directory, f"{what} {text[:40]}"


def _policy(directory: Path, draw: random.Random) -> tuple[Path, str]:
    """A policy's own files say nonsense: an adapter of itself, of a list, of nothing."""
    write_run(directory)
    base = draw.choice([str(directory), "", "a\0b", "\ud800", [1], {"a": 1}, None, 5, "/etc", "../..", "x" * 5_000])
    text = draw.choice([json.dumps({"base_model_name_or_path": base}), DEEP, "[]"])
    (directory / "policy" / "adapter_config.json").write_text(text)
    return directory, text[:80]


KINDS: dict[str, tuple[Callable[[Path, random.Random], tuple[Path, str]], int]] = {
    "another value": (_value, 40), "another content": (_content, 20), "damaged bytes": (_bytes, 8),
    "no plain file": (_special, 16), "a name": (_name, 8), "event files": (_events, 6), "another tool": (_foreign, 6),
    "a policy": (_policy, 4),
}  # fmt: skip
