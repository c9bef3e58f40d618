"""What holds of every official adapter without running it: old Pythons read its shim, and its files agree."""

from __future__ import annotations

import ast
import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest

from avatarbench import registry
from avatarbench.isolation import bring, recipe, weights
from avatarbench.isolation.official import OfficialMethod
from avatarbench.tables.layouts import LAYOUTS

IDS = [
    spec.id
    for spec in registry.everything("methods")
    if not isinstance(spec, registry.Broken) and spec.status == "unverified" and spec.environment != "inprocess"
]
"""Every official method there is; one that comes later is held to the same."""
BY_FLAME = "-flame"
"""What ends the id of a method that is another's code, driven by imported tracking."""


def test_the_methods_that_papers_compare_with_are_registered_under_the_papers_ids() -> None:
    """So that a measured row stands beside the published one."""
    assert len([name for name in IDS if not name.endswith(BY_FLAME)]) == 8
    assert {"splitavatar", "ffavatar"} <= set(registry.names("methods"))
    compared = {name for layout in LAYOUTS for name in layout.methods if "/" not in name}
    assert compared <= {*IDS, "splitavatar", "pointillist"}


@pytest.mark.parametrize("name", IDS)
def test_what_is_copied_into_a_foreign_environment_is_read_by_python_3_8_and_imports_nothing_of_ours(name: str) -> None:
    factory = registry.load(registry.method(name).factory)
    assert issubclass(factory, OfficialMethod)  # type: ignore[arg-type]
    for path in (factory.shim, *factory.files):  # type: ignore[attr-defined]
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 8))
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [module for module in modules if module.split(".")[0] == "avatarbench"], path


@pytest.mark.parametrize("name", IDS)
def test_spec_recipe_and_readme_tell_of_one_repository_at_one_commit(name: str) -> None:
    spec = registry.method(name)
    made = recipe.load(spec.environment)
    assert (made.method, made.repository, made.commit) == (name.removesuffix(BY_FLAME), spec.repository, spec.commit)
    assert spec.status == "unverified"
    factory = registry.load(spec.factory)
    readme = factory.shim.with_name("README.md").read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert spec.commit[:12] in readme
    assert "not verified here" in readme.lower()
    if len(made.weights) == 1:  # a folder of many is described as one
        assert made.weights[0].path in readme
    assert "cuda" in readme.lower() or not factory.cuda_only  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["lam", "gagavatar", "cvthead"])
def test_weights_whose_hash_is_known_are_refused_where_they_are_others(name: str, tmp_path: Path) -> None:
    known = [weight for weight in recipe.load(registry.method(name).environment).weights if weight.sha256]
    assert known
    for weight in known:
        assert re.fullmatch(r"[0-9a-f]{64}", weight.sha256)
        (tmp_path / weight.path).write_bytes(b"short")
        assert f"{weight.size:,} are expected" in "; ".join(weights.problems([weight], tmp_path))
        if weight.size < 1 << 26:  # of the right size, and of zeros
            os.truncate(tmp_path / weight.path, weight.size)
            assert f"{weight.sha256} is expected" in "; ".join(weights.problems([weight], tmp_path))


def test_what_authors_state_of_a_file_without_its_size_is_held_against_the_users(tmp_path: Path) -> None:
    (md5,) = recipe.load(registry.method("gpavatar").environment).weights
    assert re.fullmatch(r"[0-9a-f]{32}", md5.md5)
    (tmp_path / md5.path).write_bytes(b"another")
    assert (
        f"has the MD5 {hashlib.md5(b'another').hexdigest()}, {md5.md5} is expected"
        in (weights.problems([md5], tmp_path)[0])
    )
    named = {weight.path: weight for weight in recipe.load(registry.method("avatarartist").environment).weights}
    np.save(tmp_path / "temp.npy", np.zeros(610, np.float32))
    assert f"{named['temp.npy'].sha256} is expected" in weights.problems([named["temp.npy"]], tmp_path)[0]


def test_a_rounded_size_refuses_half_a_download_and_no_whole_one(tmp_path: Path) -> None:
    found = recipe.load(registry.method("cvthead").environment).weights
    rome = next(weight for weight in found if weight.path == "rome.pth")
    (tmp_path / rome.path).touch()
    for size, told in ((288_345_515, []), (200_000_000, ["has 200,000,000 bytes, about 288 MB are expected"])):
        os.truncate(tmp_path / rome.path, size)
        problems = weights.problems([rome], tmp_path)
        assert len(problems) == len(told)
        assert all(part in problem for part, problem in zip(told, problems, strict=True))
    assert "rome.pth (ROME's encoder, about 288 MB)" in bring.how_to_get_weights(
        recipe.load(registry.method("cvthead").environment)
    )
