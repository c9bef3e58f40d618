"""CVTHead behind the method contract; its authors' code runs in an environment of its own."""

from __future__ import annotations

from pathlib import Path

from avatarbench.isolation.official import TOOLS, OfficialMethod

from .recipe import RECIPE

HERE = Path(__file__).parent


class CvtHead(OfficialMethod):
    """Weights: a folder with all that ``data/`` of its checkout is to hold."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = TOOLS
    expected = ("inference.py", "models/cvthead.py", "decalib/deca.py", "data/transform.pkl")
    cuda_only = True
