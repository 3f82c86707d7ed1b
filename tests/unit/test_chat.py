"""`dpo chat` as a user meets it: through a pipe, and through a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from commands import run
from tiny import tiny_gpt2

from dpo.cli.main import main
from dpo.generation.jobs import Job
from dpo.generation.settings import Sampling
from dpo.generation.spec import PolicySpec
from dpo.generation.worker import _prompt

ROOT = Path(__file__).resolve().parents[2]
ARM = PolicySpec("tiny")


def talk(arguments: list[str], typed: str) -> subprocess.CompletedProcess[str]:
    return run("chat", *arguments, typed=typed)


def test_a_conversation_through_a_pipe(policy_dirs: dict[str, Path]) -> None:
    name = str(policy_dirs["gpt2"])
    lines = ["hello", "/seed 7", "hello", "/reset", "hello", "/seed 0", "/reset", "hello"]
    typed = "\n".join([*lines, "/temperature 9", "/dance", "/temperature", "/quit", "never", ""])
    done = talk(["--policy", name, "--max-new-tokens", "12", "--temperature", "1"], typed)
    assert done.returncode == 0, done.stderr
    assert "Forgotten." in done.stderr and "seed is 7 now." in done.stderr
    assert "temperature is 9: it must be from 0 to 5" in done.stderr
    assert "There is no command /dance" in done.stderr and "/temperature needs a number" in done.stderr
    assert done.stderr.count("tokens ·") == 4  # nothing is answered after /quit
    alone = run("generate", "--policy", name, "--prompt", "hello", "--max-new-tokens", "12", "--temperature", "1")
    # The first answer and the one after the reset with the first seed are that of `dpo generate`.
    assert done.stdout.startswith(alone.stdout) and done.stdout.endswith(alone.stdout)


def test_side_by_side_in_a_terminal(policy_dirs: dict[str, Path]) -> None:
    arguments = ["--policy", str(policy_dirs["gpt2"]), "--reference", str(policy_dirs["t5"]), "--compare"]
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dpo", "chat", *arguments, "--max-new-tokens", "12"], stdin=slave, stdout=slave,
        stderr=slave, cwd=ROOT, close_fds=True, env={**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    try:
        assert "/help" in read_until(master, "> ")
        os.write(master, b"hello\n")
        shown = read_until(master, r"gpt2 \[\d+ tokens[\s\S]*> ")
        assert " │ " in shown  # two columns
        assert re.search(r"\x1b\[\d+A", shown)  # drawn over themselves while they grew
        assert re.search(r"t5 \[\d+ tokens", shown)
        # A signal between the prompt's printing and its waiting is noticed with the next key only.
        while psutil.Process(process.pid).status() != psutil.STATUS_SLEEPING:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)  # Ctrl-C at the prompt does not leave
        # Ctrl-D before the next prompt stands would be the terminal's, not the prompt's.
        assert "/quit leaves" in read_until(master, r"/quit leaves[\s\S]*> ")
        os.write(master, b"\x04")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        os.close(master)


def read_until(terminal: int, pattern: str, seconds: float = 240) -> str:
    """What the terminal shows until `pattern` appears in it."""
    shown, end = "", time.monotonic() + seconds
    while not re.search(pattern, shown):
        ready, _, _ = select.select([terminal], [], [], max(end - time.monotonic(), 0))
        assert ready, f"{pattern} never appeared in: {shown}"
        shown += os.read(terminal, 4096).decode("utf-8", "replace")
    return shown


def test_a_policy_that_was_tuned_from_nothing_has_no_base(
    policy_dirs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "--policy", str(policy_dirs["gpt2"]), "--base"]) == 2
    assert "name it with --reference" in capsys.readouterr().err


def test_older_turns_make_room() -> None:
    policy = tiny_gpt2(context=128)
    turns = tuple((f"question {number}", "an answer of some length " * 2) for number in range(6))
    prompt = _prompt(Job(1, "and now?", (), Sampling(max_new_tokens=20), turns=turns), ARM, policy)
    assert isinstance(prompt, list) and prompt[-1] == {"role": "user", "content": "and now?"}
    assert 1 <= len(prompt) < 13 and len(policy.encode_prompt(prompt)) <= 108
    assert prompt[0]["role"] == "user" and prompt[0]["content"] != "question 0"
    assert _prompt(Job(1, "and now?", (), Sampling(), turns=()), ARM, policy) == "and now?"
    # What was said to one arm comes before what was said to all.
    own = _prompt(Job(1, "and now?", (), Sampling(), turns=turns), PolicySpec("x", turns=(("a", "b"),)), policy)
    assert [message["content"] for message in own] == ["a", "b", "and now?"]  # type: ignore[index]


def test_a_chat_template_writes_the_turns() -> None:
    policy = tiny_gpt2()
    policy.tokenizer.chat_template = "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}assistant:"
    prompt = _prompt(Job(1, "b", (), Sampling(max_new_tokens=4), turns=(("a", "x"),)), ARM, policy)
    assert policy.decode(policy.encode_prompt(prompt)) == "user:a;assistant:x;user:b;assistant:"
