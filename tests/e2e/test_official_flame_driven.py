"""LAM and FastAvatar against their stand-ins: what drives them is converted, what comes out is harvested or told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatarbench import registry
from avatarbench.errors import AvatarbenchError, UsageError
from avatarbench.method import Motion
from tests.standins.common import python
from tests.standins.heads import camera, files, motion, opened, portrait, trapped

BOTH = pytest.mark.parametrize("name", ["lam", "fastavatar"])
PORTRAIT_SHAPE = float(portrait().image.std()) / 128  # as LAM's stand-in tracks it


def code(value: float) -> int:
    return round(100 + 100 * value)


def place_of(motion: Motion) -> np.ndarray:
    """Where the head's place projects to, by our contract's camera: pixels (2,)."""
    assert motion.camera is not None
    assert motion.flame is not None
    seen = motion.camera.K @ (motion.camera.world_to_camera @ [*motion.flame.translation, 1])[:3]
    return np.asarray(seen[:2] / seen[2])


def seen_head(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle of the square that stands for the head, in pixels, and its colour."""
    upper = image[:370].astype(int)
    ys, xs = np.nonzero((upper < 240).any(axis=2))
    middle = np.array([xs.mean() + 0.5, ys.mean() + 0.5])
    return middle, upper[int(middle[1]), int(middle[0])]


def seen_source(image: np.ndarray) -> np.ndarray:
    """The colour of the square in the lower left, which is the portrait's mean."""
    lower = image[370:].reshape(-1, 3).astype(int)
    return np.asarray(np.median(lower[(lower < 240).any(axis=1)], axis=0))


@BOTH
def test_every_frame_shows_its_own_motion_where_its_camera_sees_it(name: str, tmp_path: Path) -> None:
    repo = trapped(name, tmp_path)
    before = files(repo)
    motions = [motion(index) for index in (0, 2, 1)]
    with opened(name, repo, repo / "weights", tmp_path / "work") as method:
        avatar = method.build(portrait())
        avatar.announce(motions)
        images = {one.id: np.asarray(avatar.render(one)) for one in reversed(motions)}
        late = motion(3, camera=camera(cx=230, cy=270))
        images[late.id] = np.asarray(avatar.render(late))  # never announced
        other = method.build(portrait((40, 160, 220)))  # of the same name
        np.testing.assert_allclose(seen_source(np.asarray(other.render(motions[0]))), [40, 160, 220], atol=2)
        (kept,) = (tmp_path / "work").rglob("avatarbench_job")  # the first portrait's frames fill no disk
        assert len(list(kept.rglob("images/*/*.png" if name == "lam" else "frames/*/*.png"))) == 1
    for one in [*motions, late]:
        image = images[one.id]
        assert image.shape == (512, 512, 3)
        assert image.dtype == np.uint8
        middle, colour = seen_head(image)
        np.testing.assert_allclose(middle, place_of(one), atol=1.0)
        assert one.flame is not None
        shape = PORTRAIT_SHAPE if name == "lam" else float(one.flame.shape[0])
        expected = [code(one.flame.expr[0]), code(one.flame.jaw_pose[0]), code(shape)]
        np.testing.assert_allclose(colour, expected, atol=2)
        np.testing.assert_array_equal(image[30, 30], 255)  # the white background reaches the frame's corners
        np.testing.assert_allclose(seen_source(image), [150, 100, 60], atol=2)
    assert files(repo) == before


@BOTH
def test_what_an_earlier_job_left_in_the_checkout_is_not_taken_for_new(name: str, tmp_path: Path) -> None:
    repo = trapped(name, tmp_path)
    if name == "lam":  # its export is of the tracking that sorts last
        old = repo / "tracking_output" / "tracking" / "9999-12-31"
        old.mkdir(parents=True)
        (old / "config.yml").write_text('{"colour": [0, 0, 0], "shape": 0.9}')
    else:  # its first processed picture is the one that sorts first
        old = repo / "infer_results" / "processed_data" / "00000"
        old.mkdir(parents=True)
        np.save(old / "rgb.npy", np.zeros(3))
    before = files(repo)
    with opened(name, repo, repo / "weights", tmp_path / "work") as method:
        avatar = method.build(portrait())
        avatar.announce([motion(0)])
        np.testing.assert_allclose(seen_source(np.asarray(avatar.render(motion(0)))), [150, 100, 60], atol=2)
    assert files(repo) == before


TRAPS = {
    "lam": {"raise": "CUDA error: out of memory", "few": "too few frames: 1 of"},
    "fastavatar": {"silent": "No frame directories found"},
}


@BOTH
def test_a_job_that_ends_well_without_its_frames_is_told_by_the_frames(name: str, tmp_path: Path) -> None:
    repo = trapped(name, tmp_path)
    with opened(name, repo, repo / "weights", tmp_path / "work") as method:
        for trap, said in TRAPS[name].items():
            (repo / "TRAP").write_text(trap)
            avatar = method.build(portrait())
            with pytest.raises(AvatarbenchError) as error:
                avatar.announce([motion(0), motion(1)])
            assert said in str(error.value)
            assert "2 expected" in str(error.value)
            assert "exit code 0" in str(error.value)  # which said nothing of it


@BOTH
def test_another_projects_checkout_is_refused_with_the_command_that_brings_the_right_one(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with (
        pytest.raises(UsageError, match=r"git clone --recurse-submodules https://github\.com/") as error,
        opened(name, tmp_path / "other", tmp_path / "none", tmp_path / "work"),
    ):
        pass
    assert "launch.py" in str(error.value)


@BOTH
def test_a_checkout_without_its_models_is_told_before_any_work(name: str, tmp_path: Path) -> None:
    repo = trapped(name, tmp_path)
    model = repo / "model_zoo" / "human_parametric_models" / "flame"
    model.rename(model.with_name("README.md"))
    factory = registry.load(registry.method(name).factory)
    lacks = factory.obstacles(repo=str(repo), weights=str(repo / "weights"), python=python())  # type: ignore[attr-defined]
    assert [line for line in lacks if "model_zoo/human_parametric_models" in line and "as its README says" in line]
    assert len(lacks) == 1
