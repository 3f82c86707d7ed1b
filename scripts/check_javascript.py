"""Check the pages' JavaScript: eslint, prettier, the types of tsc, and its unit tests (what `make js` runs).

Nothing is installed outside the repository: Node.js comes with Playwright, which the browser tests have, and the tools
from npm's registry, as `tests/js/package-lock.json` pins them. npm itself is only fetched to install them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "tests" / "js"
MODULES = HERE / "node_modules"
STAMP = MODULES / ".installed"
NPM = "https://registry.npmjs.org/npm/-/npm-11.6.2.tgz"
NPM_SHA512 = "7iKzNfy8lWYs3zq4oFPa8EXZz5xt9gQNKJZau3B1ErLBb6bF7sBJ00x09485DOvRT2l5Gerbl3VlZNT57MxJVA=="
SOURCES = ("assets/js", "assets/inline", "tests/js")
CHECKS = {
    "eslint": ("eslint/bin/eslint.js", "--config", "tests/js/eslint.config.js", *SOURCES),
    "prettier": ("prettier/bin/prettier.cjs", "--config", "tests/js/prettier.json", "--check", *SOURCES),
    "tsc": ("typescript/bin/tsc", "--project", "tests/js/tsconfig.json"),
}


def node() -> Path:
    """The Node.js that Playwright brings."""
    import playwright

    name = "node.exe" if os.name == "nt" else "node"
    return Path(playwright.__file__).parent / "driver" / name


def install() -> None:
    """Install the tools as they are locked, if that was not done yet."""
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == lock:
        return
    print(f"+ npm ci ({HERE.relative_to(ROOT)})", flush=True)
    with urllib.request.urlopen(NPM, timeout=120) as answer:
        packed = answer.read()
    if base64.b64encode(hashlib.sha512(packed).digest()).decode() != NPM_SHA512:
        sys.exit(f"{NPM} is not what it was when its hash was written down: not used")
    with tempfile.TemporaryDirectory() as directory:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(directory, filter="data")
        npm = Path(directory) / "package" / "bin" / "npm-cli.js"
        options = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error")
        subprocess.run([node(), npm, *options], cwd=HERE, check=True)
    STAMP.write_text(lock)


def check(name: str) -> tuple[str, int, str]:
    """The name of a check, its exit status, and what it printed."""
    if name == "tests":
        command = ["--test", *sorted(str(path.relative_to(ROOT)) for path in HERE.glob("*.test.js"))]
    else:
        tool, *arguments = CHECKS[name]
        command = [str(MODULES / tool), *arguments]
    done = subprocess.run([node(), *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return name, done.returncode, done.stdout


def main() -> int:
    """0 when all is well; else what is wrong is printed."""
    install()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(check, [*CHECKS, "tests"]))
    for name, status, output in found:
        print(f"{name}: {'failed' if status else 'ok'}")
        if status:
            print(output)
    return int(any(status for _, status, _ in found))


if __name__ == "__main__":
    raise SystemExit(main())
