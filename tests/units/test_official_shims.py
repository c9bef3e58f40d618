"""What holds of every official adapter without running it: old Pythons read its shim, and its files agree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from avatarbench import registry
from avatarbench.isolation import recipe
from avatarbench.isolation.official import OfficialMethod

METHODS = Path(__file__).parents[2] / "methods"
IDS = ["lam", "fastavatar", "gagavatar", "gpavatar"]


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
    assert (made.method, made.repository, made.commit) == (name, spec.repository, spec.commit)
    assert spec.status == "unverified"
    readme = (METHODS / name / "README.md").read_text(encoding="utf-8")
    assert spec.commit in readme
    assert "Not verified here" in readme
    assert all(weight.path in readme for weight in made.weights)
