"""Files that come with the workbench beside its code: `assets` (of the pages), `configs` (presets) and `docs`."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(name: str, package: Path = _PACKAGE) -> Path:
    """The directory `name`: inside the installed package (a wheel), or at the root of the repository beside it.

    Raises:
        FileNotFoundError: it is in neither, so the installation is not whole.
    """
    for directory in (package / name, package.parent / name):
        if directory.is_dir():
            return directory
    raise FileNotFoundError(f"{name}/ is neither in {package} nor beside it: install dpo-workbench again")
