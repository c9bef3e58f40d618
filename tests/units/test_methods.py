import numpy as np
import pytest

from avatarbench import registry
from avatarbench.errors import Unscorable
from avatarbench.method import Motion, Portrait

PICTURE = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
OTHER = PICTURE[::-1].copy()


@pytest.mark.parametrize("name", ["source-copy", "oracle", "face-warp", "photo-rig", "gaussian-fit"])
def test_every_method_is_registered_and_its_factory_loads(name: str) -> None:
    spec = registry.method(name)
    assert callable(registry.load(spec.factory)().build)
    assert spec.licence_code == "Apache-2.0"


def test_only_the_real_baselines_are_ranked() -> None:
    bounds = ("source-copy", "oracle", "gaussian-fit")
    assert {registry.method(m).role for m in bounds} == {"bound"}
    assert {registry.method(m).role for m in ("face-warp", "photo-rig")} == {"method"}


def test_the_floor_is_the_portrait_whatever_the_motion() -> None:
    avatar = registry.load(registry.method("source-copy").factory)().build(Portrait("p", PICTURE))
    image = avatar.render(Motion("m", 0, OTHER))
    assert np.array_equal(image, PICTURE)
    image[:] = 0  # what a caller does to one frame must not reach the next
    assert np.array_equal(avatar.render(Motion("m", 1, OTHER)), PICTURE)


def test_the_ceiling_is_the_true_frame() -> None:
    avatar = registry.load(registry.method("oracle").factory)().build(Portrait("p", PICTURE))
    assert np.array_equal(avatar.render(Motion("m", 0, PICTURE, target=OTHER)), OTHER)
    with pytest.raises(Unscorable, match="no true frame"):
        avatar.render(Motion("m", 0, PICTURE))
