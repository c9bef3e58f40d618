"""Our renderer beside Mitsuba's own integrator of Gaussians, ``volprim_rf_basic``, whose compiler is a library of
Debian."""

from __future__ import annotations

import pytest

from benchmarks.mitsuba_splats import Pictures, apart, crowd, newest_llvm, pictures
from tests.oracles.test_volume_primitives import ours, psnr, traced


@pytest.fixture(scope="module", autouse=True)
def _compiler() -> None:
    if newest_llvm() is None:
        pytest.fail("libLLVM is not installed (Debian package libllvm19): run make test-extra")


def test_gaussians_apart_are_its_picture_at_the_pixels_centres() -> None:
    cloud, camera = apart()
    found: Pictures = pictures(cloud, camera, [1], centred=True)
    assert psnr(ours(cloud, camera), found.images[0]) > 54
    assert psnr(traced(cloud, camera).picture(), found.images[0]) > 70  # the rule that tests/oracles goes by is its own


def test_its_converged_picture_is_the_mean_over_the_pixels() -> None:
    for (cloud, camera), floor in ((apart(), 50), (crowd(), 33)):
        found = pictures(cloud, camera, [256])
        assert psnr(ours(cloud, camera), found.images[0]) > floor
