"""Assets that other packages bring through the entry-point group ``avatarbench.assets``."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from avatarbench import assets
from avatarbench.assets import Asset, OwnerUrl, lookup
from avatarbench.cli import app
from avatarbench.cli.doctor import check_asset
from avatarbench.errors import AssetError, UnknownNameError

CONTENT = b"weights of somebody else"
TOY = Asset(
    id="toy",
    summary="a toy",
    licence="CC0-1.0",
    filename="toy.bin",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    sources=(OwnerUrl("https://toys.example/toy.bin"),),
)
Register = Callable[..., None]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Register]:
    """Register objects by name, beside a package that cannot be imported; the toy's file lies in a local folder."""
    monkeypatch.setenv("AVATARBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AVATARBENCH_ASSETS", str(tmp_path))
    monkeypatch.setenv("AVATARBENCH_OFFLINE", "1")
    (tmp_path / "toy.bin").write_bytes(CONTENT)
    module = ModuleType("somebodys_specs")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = [EntryPoint("shaky", "no_such_module_anywhere:ASSET", lookup.GROUP)]

    def add(name: str, value: object) -> None:
        attribute = f"ASSET_{len(made)}"
        setattr(module, attribute, value)
        made.append(EntryPoint(name, f"{module.__name__}:{attribute}", lookup.GROUP))
        forget()

    def forget() -> None:
        lookup._entries.cache_clear()
        lookup._load.cache_clear()

    def entries(group: str) -> list[EntryPoint]:
        assert group == lookup.GROUP
        return made

    monkeypatch.setattr(lookup, "entry_points", entries)
    forget()
    yield add
    forget()


def test_it_is_an_asset_like_ours(register: Register, tmp_path: Path) -> None:
    register("toy", TOY)
    assert assets.get("toy") is TOY
    assert assets.ids()[-2:] == ["shaky", "toy"]
    assert assets.state("toy") == "present"
    assert assets.pull("toy") == assets.path("toy") == tmp_path / "toy.bin"
    assert assets.ensure(["toy"]) == {}
    with pytest.raises(UnknownNameError, match="did you mean 'toy'"):
        assets.get("toyy")


def test_what_a_spec_names_wrongly_is_that_assets_error_alone(register: Register) -> None:
    register("toy", TOY)
    failed = assets.ensure(["nothing-like-it", "toy", "shaky", "arcface"])
    assert list(failed) == ["nothing-like-it", "shaky", "arcface"]
    assert all(isinstance(error, AssetError) for error in failed.values())
    assert "unknown asset 'nothing-like-it'" in str(failed["nothing-like-it"])
    assert "no_such_module_anywhere" in str(failed["shaky"])


def test_nothing_of_a_package_is_imported_before_it_is_asked_for(register: Register) -> None:
    assert "shaky" in assets.ids()
    assert assets.get("face-landmarker").id == "face-landmarker"
    with pytest.raises(AssetError, match=r"asset 'shaky' .* cannot be loaded: ModuleNotFoundError"):
        assets.get("shaky")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("toy", "it is a str"),
        (replace(TOY, id="other"), "its id is 'other'"),
        (replace(TOY, filename="../../toy.bin"), "not a plain name"),
        (replace(TOY, filename=".hidden"), "not a plain name"),
        (replace(TOY, sha256="abc"), "not 64 lower-case"),
        (replace(TOY, sources=()), "names no source"),
        (replace(TOY, filename="face_landmarker.task"), "that of avatarbench's own asset 'face-landmarker'"),
    ],
)
def test_an_object_that_cannot_be_an_asset_says_why(register: Register, value: Any, fault: str) -> None:
    register("toy", value)
    with pytest.raises(AssetError, match=fault):
        assets.get("toy")


def test_an_asset_that_two_packages_bring_is_refused_and_the_others_stay(register: Register) -> None:
    register("face-landmarker", replace(TOY, id="face-landmarker"))
    register("toy", TOY)
    register("toy", replace(TOY, summary="another"))
    for id, owners in (("face-landmarker", "avatarbench, unknown package"), ("toy", "unknown package, unknown")):
        with pytest.raises(AssetError, match=f"more than one package: {owners}"):
            assets.get(id)
    assert assets.get("dlib-face").id == "dlib-face"


def test_listing_checking_and_the_doctor_see_it_and_go_on_past_a_broken_one(register: Register) -> None:
    register("toy", TOY)
    listed = CliRunner().invoke(app, ["assets", "list"])
    assert listed.exit_code == 0
    lines = {line.split()[0]: line for line in listed.stdout.splitlines() if line.strip()}
    assert "present" in lines["toy"]
    assert "toys.example" in lines["toy"]
    assert "broken" in lines["shaky"]
    assert "no_such_module_anywhere" in lines["shaky"]
    verified = CliRunner().invoke(app, ["assets", "verify"])
    assert verified.exit_code == 1
    assert f"toy  ok  {TOY.sha256}" in verified.stdout
    assert (check_asset("toy").ok, check_asset("shaky").ok) == (True, False)
