"""What commands print and ask for: their own lines, nothing of the libraries' that no user can act on, and nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from short_runs import BASE

COMMANDS = """
import socket
import sys

asked = []

def watch(event, arguments):
    if event == "socket.getaddrinfo":
        asked.append(arguments[0])
    elif event == "socket.connect" and arguments[0].family != socket.AF_UNIX:
        asked.append(arguments[1])

sys.addaudithook(watch)

from dpo.cli.main import main

policy, run, merged, *flags = sys.argv[1:]
for line in (
    ["train", "--model", policy, "--output-dir", run, "--lora", *flags],
    ["sft", "--model", policy, "--output-dir", run + "-sft", "--dataset", "sample", "--num-samples", "8", "--probes",
     "0", "--max-steps", "1", "--batch-size", "4", "--device", "cpu"],
    ["generate", "--policy", run, "--prompt", "hi", "--max-new-tokens", "4", "--device", "cpu"],
    ["score", "--policy", run, "--prompt", "hi", "--text", "yes", "--device", "cpu"],
    ["merge", run, "--output-dir", merged],
):
    print("$", line[0], file=sys.stderr)
    assert main(line) == 0, line

from huggingface_hub.utils import _telemetry

_telemetry._TELEMETRY_QUEUE.join()  # a thread of its own would send it
assert not asked, asked
"""


def test_commands_print_no_library_noise_and_ask_nobody(tmp_path: Path) -> None:
    # A bundled base: PEFT took its name for one of the hub's, asked for it at every save, and said it is not there.
    settings = BASE | {"max_steps": 2, "eval_steps": 2, "save_steps": 2, "probes": 1, "kl_prompts": 1}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    # As on a machine with a network: without what tests set, and where TRL does not hold back since it runs in CI.
    online = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "CI")}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, "demo/gpt2", str(tmp_path / "run"), str(tmp_path / "merged"),
         *flags],
        capture_output=True, text=True, timeout=250, env=online | {"HF_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for noise in ("Warning", "warnings.warn", "Flattening", "Loading weights", "Writing model"):
        assert noise not in done.stderr + done.stdout, done.stderr
