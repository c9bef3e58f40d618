"""What holds of every official adapter without running it: old Pythons read its shim, and its files agree."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from avatarbench import registry
from avatarbench.isolation import recipe, weights
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
