"""Run the library contract with the lowest and the highest versions that pyproject.toml allows (`make compat`).

    python scripts/compatibility.py [lowest] [highest] [--tests PATH ...]

Each set of versions is installed into an environment of its own below `build/`, which takes everything else from
`.venv`: PyTorch is not fetched again, and `.venv` stays as it is.  It needs a package index.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
VARIED = ("trl", "transformers", "peft", "datasets", "dash")
TESTS = ("tests/training/test_library_contract.py", "tests/training/test_trl_contract.py", "tests/unit/test_layout.py")


def allowed(pyproject: Path = ROOT / "pyproject.toml") -> dict[str, Requirement]:
    """What pyproject.toml asks of each of the libraries."""
    lines = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]
    found = {requirement.name: requirement for requirement in map(Requirement, lines)}
    return {name: found[name] for name in VARIED}


def wanted(which: str, ranges: dict[str, Requirement]) -> list[str]:
    """What to ask the index for: of `lowest` each range's lower end, of `highest` the newest within."""
    if which == "highest":
        return [f"{name}{requirement.specifier}" for name, requirement in ranges.items()]
    made = []
    for name, requirement in ranges.items():
        (lower,) = (part.version for part in requirement.specifier if part.operator == ">=")
        made.append(f"{name}=={lower}")
    return made


def environment(directory: Path, below: Path) -> Path:
    """Make an environment that falls back on the packages in the folder `below`; returns its Python."""
    venv.create(directory, clear=True, with_pip=False)
    python = directory / "bin" / "python"
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    (Path(packages) / "below.pth").write_text(f"{below}\n", encoding="utf-8")
    return python


def main() -> int:
    """Try the sets of versions that are asked for; 0 if all held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", default=["lowest", "highest"], choices=["lowest", "highest"])
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="test files to run")
    options = parser.parse_args()
    below = Path(str(importlib.metadata.distribution("pip").locate_file("")))
    failed = []
    for which in options.which:
        versions = wanted(which, allowed())
        print(f"{which}: {' '.join(versions)}", flush=True)
        python = environment(ROOT / "build" / f"compat-{which}", below)
        # What they need beside each other is in .venv; a dependency that moved shows in the tests.
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--ignore-installed", *versions], check=True)
        names = f"import importlib.metadata as m; print(*(f'{{n}} {{m.version(n)}}' for n in {VARIED}), sep=', ')"
        subprocess.run([python, "-c", names], check=True)
        tests = subprocess.run(
            [python, "-m", "pytest", *options.tests], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        failed += [which] * bool(tests.returncode)
    print(f"failed: {', '.join(failed)}" if failed else "all held", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
