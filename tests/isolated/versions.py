"""A third party's methods in environments of their own: one whose packages conflict with ours, and one that is fast."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avatarbench.isolation import environments
from avatarbench.isolation.method import IsolatedMethod
from avatarbench.isolation.recipe import Recipe
from avatarbench.method import MethodSpec

HERE = Path(__file__).parent
PYTHON = "{}.{}".format(*sys.version_info[:2])

CONFLICT = Recipe(method="conflict", python=PYTHON, packages=("numpy==1.26.4", "pillow==10.4.0"))
"""We ask for numpy 2 and Pillow 11 at least."""
OURS = Recipe(method="brisk", python=PYTHON)


class Conflict(IsolatedMethod):
    """Paints the versions that it finds into the portrait. ``faults``: f and the driver's frame -> what goes wrong."""

    recipe = CONFLICT
    shim = HERE / "versions_shim.py"
    frame_timeout = 30.0


class Brisk(IsolatedMethod):
    """Fast, in our own interpreter."""

    recipe = OURS
    shim = HERE / "brisk_shim.py"

    def __init__(self, **options: Any) -> None:
        super().__init__(environment=environments.given(OURS, Path(sys.executable)), options=options)

    @classmethod
    def obstacles(cls, **options: Any) -> Sequence[str]:
        return []

    @classmethod
    def prepare(cls, **options: Any) -> Sequence[str]:
        return []


def _spec(name: str, factory: str, recipe: str) -> MethodSpec:
    return MethodSpec(
        id=name, name=name.title(), summary="a test's", factory=f"tests.isolated.versions:{factory}", status="working",
        licence_code="Apache-2.0", environment=f"tests.isolated.versions:{recipe}",
    )  # fmt: skip


CONFLICT_SPEC = _spec("conflict", "Conflict", "CONFLICT")
BRISK_SPEC = _spec("brisk", "Brisk", "OURS")


def register(folder: Path) -> dict[str, str]:
    """Variables under which Python finds these methods as an installed package's; ``folder`` holds its metadata."""
    about = folder / "avatarbench_isolated-0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: avatarbench-isolated\nVersion: 0.1\n")
    entries = [f"{name} = tests.isolated.versions:{name.upper()}_SPEC" for name in ("conflict", "brisk")]
    (about / "entry_points.txt").write_text("[avatarbench.methods]\n" + "\n".join(entries) + "\n")
    return {"PYTHONPATH": f"{folder}:{HERE.parents[1]}"}
