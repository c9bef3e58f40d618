"""What the official methods' recipes pin is there together: the registry loses wheels, and pins exclude each other.

Besides Debian's programs, only what asks the registry for minutes stands here; nothing is installed.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from avatarbench.isolation import interpreters, recipe
from avatarbench.method import MethodSpec
from avatarbench.registry import everything

OFFICIAL = [s for s in everything("methods") if isinstance(s, MethodSpec) and s.environment != "inprocess"]
RECIPES = {made.method: made for made in (recipe.load(spec.environment) for spec in OFFICIAL)}


@pytest.mark.parametrize("name", RECIPES)
def test_the_pins_of_a_recipe_resolve_for_its_python(name: str, tmp_path: Path) -> None:
    made = RECIPES[name]
    # CUDA builds of torch lie elsewhere; the registry has the same version without the label.
    lines = [re.sub(r"\+cu\d+$", "", line) for line in made.packages]
    done = subprocess.run(
        [
            *(str(interpreters.uv()), "pip", "compile", "--quiet", "--no-header"),
            *("--python-version", made.python, "--python-platform", "x86_64-manylinux_2_28", "-"),
        ],
        cwd=tmp_path, input="\n".join(lines), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {line.split(" ")[0].lower().replace("_", "-") for line in done.stdout.splitlines() if "==" in line}
    assert {line.lower().replace("_", "-") for line in lines} <= found
