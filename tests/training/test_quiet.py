"""What commands print: their own lines, and nothing of the libraries' that no user can act on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from test_training_runs import BASE

COMMANDS = """
import sys
from dpo.cli.main import main

policy, run, merged, *flags = sys.argv[1:]
for line in (
    ["train", "--model", policy, "--output-dir", run, "--lora", *flags],
    ["generate", "--policy", run, "--prompt", "hi", "--max-new-tokens", "4", "--device", "cpu"],
    ["score", "--policy", run, "--prompt", "hi", "--text", "yes", "--device", "cpu"],
    ["merge", run, "--output-dir", merged],
):
    print("$", line[0], file=sys.stderr)
    assert main(line) == 0, line
"""


def test_commands_print_no_library_noise(tmp_path: Path) -> None:
    # A bundled base: PEFT took its name for one of the hub's, asked for it at every save, and said it is not there.
    settings = BASE | {"max_steps": 2, "eval_steps": 2, "save_steps": 2, "probes": 1, "kl_prompts": 1}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, "demo/gpt2", str(tmp_path / "run"), str(tmp_path / "merged"),
         *flags],
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for noise in ("Warning", "warnings.warn", "Flattening", "Loading weights", "Writing model"):
        assert noise not in done.stderr + done.stdout, done.stderr
