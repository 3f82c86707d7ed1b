"""Create `.venv` with the locked dependencies (what `make setup` runs).

With a GPU, and everywhere but on Linux, this is `poetry install`.  On Linux without
an NVIDIA GPU the same locked versions are installed with PyTorch's CPU build instead
of the CUDA one, which saves about 4.5 GB.  `DPO_TORCH=cpu|cuda` overrides the choice.

Where Poetry cannot reach its registry's JSON API but pip can install (a plain mirror),
the lock is exported and installed by pip, so the versions are the same on every path.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".poetry"  # Poetry's own environment, apart from the project's
VENV = ROOT / ".venv"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_ONLY = re.compile(r"^(nvidia-(?!ml-py)|cuda-|triton\b)")


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run one step in the project's root, showing it; a failing step raises."""
    print("+", *command, flush=True)
    return subprocess.run([str(part) for part in command], cwd=ROOT, text=True, check=True, **options)  # type: ignore[call-overload, no-any-return]


def poetry() -> Path:
    """Path of Poetry in its own environment, installed there on first use."""
    executable = TOOLS / "bin" / "poetry"
    if not executable.exists():
        venv.create(TOOLS, with_pip=True)
        run(TOOLS / "bin" / "pip", "install", "-q", "poetry>=2.5,<3", "poetry-plugin-export>=1.9,<2")
    return executable


def wants_cpu_torch() -> bool:
    """Whether PyTorch's CPU build is the right one for this machine."""
    choice = os.environ.get("DPO_TORCH", "auto")
    if choice not in ("auto", "cpu", "cuda"):
        sys.exit(f"DPO_TORCH is {choice!r}: use auto, cpu or cuda")
    if choice != "auto":
        return choice == "cpu"
    return sys.platform == "linux" and not shutil.which("nvidia-smi")


def locked_requirements() -> list[str]:
    """The lock's pins, one `name==version ; marker` line each."""
    # Without hashes: the CPU build of torch is another file than the one the lock names.
    exported = run(poetry(), "export", "--with", "dev", "--without-hashes", stdout=subprocess.PIPE).stdout
    return [line for line in exported.splitlines() if re.match(r"[A-Za-z0-9]", line)]


def pip_install(*arguments: str | Path) -> None:
    """Install into the project's environment exactly what is named, nothing more."""
    if not (VENV / "bin" / "python").exists():
        venv.create(VENV, with_pip=True)
    run(VENV / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", *arguments)


def install_with_pip(requirements: list[str]) -> None:
    """Install requirement lines through pip, which compiles what it installs."""
    VENV.mkdir(exist_ok=True)
    listing = VENV / "requirements.txt"
    listing.write_text("\n".join(requirements) + "\n")
    pip_install("-r", listing)


def install_cpu(requirements: list[str]) -> None:
    """The lock's versions with PyTorch's CPU build and without the CUDA libraries."""
    torch = next(line for line in requirements if line.startswith("torch=="))
    version = torch.split(";")[0].strip()
    pip_install("--retries", "1", "--extra-index-url", CPU_INDEX, f"{version}+cpu")
    install_with_pip([line for line in requirements if line != torch and not CUDA_ONLY.match(line)])


def main() -> None:
    """Install the dependencies by the best way that works here, then the project itself."""
    executable = poetry()
    cpu = wants_cpu_torch()
    try:
        if cpu:
            install_cpu(locked_requirements())
        else:
            run(executable, "install", "--compile", "--no-root")
    except subprocess.CalledProcessError as error:
        print(f"That did not work ({error}); installing the lock as it stands through pip", flush=True)
        install_with_pip(locked_requirements())
    run(executable, "install", "--only-root")


if __name__ == "__main__":
    main()
