"""The test split that ships: it resolves to the shipped manifests, and the wheel holds all of it."""

from __future__ import annotations

import zipfile

import pytest

from avatarbench import registry
from avatarbench.datasets.openheads import embedded_split
from avatarbench.run.pinned import read_pinned, resolve_default, summary
from tests.conftest import ROOT, Installed


@pytest.mark.parametrize("name", ["openheads-self", "openheads-cross", "openheads-cross-gt"])
def test_the_embedded_split_resolves_to_the_shipped_manifest(name: str) -> None:
    """After the split changed on purpose: make manifests."""
    spec = registry.protocol(name)
    assert summary(resolve_default(spec)) == read_pinned(spec)


def test_pairs_are_as_many_as_the_protocols_say() -> None:
    counts = {
        name: len(resolve_default(registry.protocol(name)).pairs) for name in ("openheads-self", "openheads-cross")
    }
    assert counts == {"openheads-self": 216, "openheads-cross": 192}


def test_the_wheel_holds_the_split_and_the_manifests(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        held = set(wheel.namelist())
    split = {str(f.relative_to(ROOT)) for f in embedded_split().rglob("*") if f.is_file()}
    assert split
    assert split <= held
    assert {f"avatarbench/protocols/manifests/{p.name}" for p in (ROOT / "protocols" / "manifests").iterdir()} <= held


def test_the_split_is_small_enough_to_ship() -> None:
    assert sum(f.stat().st_size for f in embedded_split().rglob("*") if f.is_file()) <= 20_000_000
