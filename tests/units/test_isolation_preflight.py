"""A method whose environment cannot be had is told of before any work, as other lacks are."""

from __future__ import annotations

import pytest

from avatarbench import registry
from avatarbench.errors import PreflightError
from avatarbench.isolation import environments
from avatarbench.isolation.build import BuildError
from avatarbench.isolation.method import IsolatedMethod
from avatarbench.isolation.recipe import Recipe
from avatarbench.method import MethodSpec
from avatarbench.run.config import RunConfig
from avatarbench.run.preflight import Preflight, _check_method, _make_ready
from tests.isolated import HERE


class Impossible(IsolatedMethod):
    recipe = Recipe(method="impossible", python="3.99")
    shim = HERE / "faulty_shim.py"


class Failing(Impossible):
    recipe = Recipe(method="failing", python="3.11")


def _found(name: str) -> tuple[Preflight, MethodSpec, RunConfig]:
    spec = MethodSpec(
        id=name, name=name, summary="", factory=f"tests.units.test_isolation_preflight:{name.title()}",
        status="working", licence_code="MIT", environment="tests.units.test_isolation_preflight:Impossible.recipe",
    )  # fmt: skip
    config = RunConfig(methods=[name, "source-copy"], protocol="clip-self", method={name: {}})
    methods = [spec, registry.method("source-copy")]
    return Preflight(registry.protocol("clip-self"), methods, [registry.metric("psnr")]), spec, config


def test_what_an_environment_lacks_here_is_on_the_list() -> None:
    found, spec, _ = _found("impossible")
    _check_method(found, spec, {}, {})
    assert found.without_methods == {"impossible": "setup"}
    with pytest.raises(PreflightError, match=r"method 'impossible' cannot be set up: .*3\.99"):
        found.verdict(skip_missing=False)
    found.verdict(skip_missing=True)


def test_a_backend_that_is_none_is_on_the_list() -> None:
    found, spec, _ = _found("impossible")
    _check_method(found, spec, {"backend": "podman"}, {})
    assert "unknown backend 'podman'" in found.optional[0]


def test_a_build_that_fails_leaves_the_method_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def ensure(recipe: Recipe, **options: object) -> None:
        raise BuildError("step 2 of failing-123 failed; the log ends: no matching distribution")

    monkeypatch.setattr(environments, "ensure", ensure)
    found, _, config = _found("failing")
    _make_ready(found, config)
    assert found.without_methods == {"failing": "environment"}
    assert found.optional == [
        "method 'failing' has no environment: step 2 of failing-123 failed; the log ends: no matching distribution"
    ]
