"""Where the files beside the code are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo.resources import resource


def test_files_lie_in_an_installed_package_or_beside_it(tmp_path: Path) -> None:
    package = tmp_path / "dpo"
    package.mkdir()
    with pytest.raises(FileNotFoundError, match=r"assets/ is neither in .*dpo nor beside it: install"):
        resource("assets", package)
    (tmp_path / "assets").mkdir()
    assert resource("assets", package) == tmp_path / "assets"  # a checkout
    (package / "assets").mkdir()
    assert resource("assets", package) == package / "assets"  # a wheel: what else lies beside it is another's


def test_a_checkout_has_both() -> None:
    assert (resource("assets") / "fonts").is_dir() and list(resource("configs").glob("*.yaml"))
