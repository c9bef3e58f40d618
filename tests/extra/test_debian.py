"""make test-extra says what it lacks, and never passes without it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conftest import ROOT, call
from tests.extra.debian import PROGRAMS, TEX_FILES, lacking


def test_everything_is_here() -> None:
    assert lacking() == {}


def test_where_nothing_may_be_installed_every_missing_package_is_named(tmp_path: Path) -> None:
    done = call([sys.executable, "-m", "tests.extra.debian"], ROOT, {"PATH": str(tmp_path)})
    assert done.returncode == 1
    for name, package in (PROGRAMS | TEX_FILES).items():
        assert f"{name} (Debian package {package})" in done.stderr
        assert package in done.stderr.splitlines()[-1]
