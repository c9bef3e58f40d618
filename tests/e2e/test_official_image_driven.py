"""GAGAvatar and GPAvatar against their stand-ins: their own trackers, one avatar at a time, no marks and no tiles."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench.errors import Unscorable
from avatarbench.method import Portrait
from tests.standins.heads import faceless, files, motion, opened, picture, portrait, trapped

WEIGHTS = {"gagavatar": "assets/GAGAvatar.pt", "gpavatar": "checkpoints"}  # a file, and a folder that holds it
BOTH = pytest.mark.parametrize("name", sorted(WEIGHTS))
COLOURS = [(60, 120, 200), (200, 40, 90), (90, 200, 30)]


def parts(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Of a stand-in's frame: the avatar's colour, what drove it, and the source's shape, as levels of 255."""
    levels = np.asarray(image, np.float64) * 255
    return levels[300, 100], levels[100, 400], float(levels[400, 400, 0])


@BOTH
def test_every_frame_is_unmarked_driven_by_its_own_picture_and_of_its_own_portrait(name: str, tmp_path: Path) -> None:
    repo = trapped(name, tmp_path)
    before = files(repo)
    motions = [motion(index, colour) for index, colour in enumerate(COLOURS)]
    with opened(name, repo, repo / WEIGHTS[name], tmp_path / "work") as method:
        for person in ((150, 100, 60), (40, 160, 220)):  # two portraits of one name
            avatar = method.build(portrait(person))
            avatar.announce(motions[:2])
            images = [np.asarray(avatar.render(motions[index])) for index in (2, 1, 0)][::-1]  # one was not announced
            for image, colour in zip(images, COLOURS, strict=True):
                assert image.shape == (512, 512, 3)
                assert image.max() == 1  # where the network goes beyond it
                shown, driven, shape = parts(image)
                np.testing.assert_allclose(shown, person, atol=1)
                np.testing.assert_allclose(driven, colour, atol=1)
                assert shape == pytest.approx(person[0], abs=1)
                np.testing.assert_array_equal(image[-1, -1], image[300, 300])  # where the original puts its mark
    assert files(repo) == before


@BOTH
def test_a_driver_without_a_face_costs_its_own_frame(name: str, tmp_path: Path) -> None:
    repo = trapped(name, tmp_path)
    motions = [motion(0, COLOURS[0]), motion(1, image=faceless()), motion(2, COLOURS[2])]
    with opened(name, repo, repo / WEIGHTS[name], tmp_path / "work") as method:
        avatar = method.build(portrait())
        avatar.announce(motions)
        for index in (0, 2):
            np.testing.assert_allclose(parts(np.asarray(avatar.render(motions[index])))[1], COLOURS[index], atol=1)
        with pytest.raises(Unscorable, match="no face in the driver"):
            avatar.render(motions[1])
        with pytest.raises(Unscorable, match="no face in the portrait"):
            method.build(Portrait("none", faceless()))
        with pytest.raises(Unscorable, match="no face in the portrait"):
            method.build(Portrait("black", np.zeros((512, 512, 3), np.uint8)))


def original(repo: Path, *arguments: str) -> np.ndarray:
    """What the stand-in's own command makes of it."""
    command = [sys.executable, "inference.py", *arguments]
    subprocess.run(command, cwd=repo, check=True, capture_output=True, timeout=100)
    (path,) = (path for path in repo.rglob("*.jpg") if path.parent.name in ("GAGAvatar", "standin"))
    shown = np.asarray(Image.open(path), np.float64)
    path.unlink()
    return shown


def write(path: Path, colour: tuple[float, float, float]) -> str:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture(colour)).save(path)
    return str(path)


def test_gagavatars_own_command_marks_tiles_and_keeps_what_a_name_once_was(tmp_path: Path) -> None:
    """The traps are in the stand-in: what the shim is tested not to do is there to be done."""
    repo = trapped("gagavatar", tmp_path)
    driver = write(tmp_path / "d" / "driver.png", COLOURS[0])
    first = original(repo, "-d", driver, "-i", write(tmp_path / "a" / "face.png", (150, 100, 60)))
    again = original(repo, "-d", driver, "-i", write(tmp_path / "b" / "face.png", (40, 160, 220)))
    assert first.shape == (512, 3 * 512, 3)
    np.testing.assert_allclose(again, first, atol=1)  # another person's picture of the same name
    assert np.abs(first[-1, -1] - first[300, -100]).max() > 50  # the mark
    assert len(tiles_of_a_folder(repo, tmp_path)) == 60


def tiles_of_a_folder(repo: Path, folder: Path) -> set[int]:
    """Which of 64 drivers in a tracked folder GAGAvatar's own reader takes."""
    drivers = folder / "tracked"
    drivers.mkdir()
    record = {"expcode": np.zeros(100), "posecode": np.zeros(6), "transform_matrix": np.eye(4)[:3]}
    records = {f"video_{index}": {**record, "image": np.zeros((3, 1, 1))} for index in range(64)}
    (drivers / "optim.pkl").write_bytes(pickle.dumps(records))
    script = (
        "import sys, numpy as np; from core.data import DriverData; from torch import Tensor;"
        "source = {'image': Tensor(np.zeros((3, 512, 512))), 'shapecode': Tensor(np.zeros(300)),"
        " 'transform_matrix': Tensor(np.eye(4)[:3])};"
        "print(*DriverData(sys.argv[1], source, 8)._frames)"
    )
    command = [sys.executable, "-c", script, str(drivers)]
    done = subprocess.run(command, cwd=repo, check=True, capture_output=True, text=True, timeout=100)
    found = [int(key.rpartition("_")[2]) for key in done.stdout.split()]
    assert found != sorted(found)
    return set(found)


def test_gpavatars_own_command_marks_and_tiles(tmp_path: Path) -> None:
    """The traps are in the stand-in: what the shim is tested not to do is there to be done."""
    repo = trapped("gpavatar", tmp_path)
    write(tmp_path / "face" / "0.png", (150, 100, 60))
    record = {"emoca_expression": np.zeros(50), "emoca_pose": np.zeros(6), "transform_matrix": np.eye(4)[:3]}
    drivers = tmp_path / "drivers"
    drivers.mkdir()
    (drivers / "lightning.pkl").write_bytes(pickle.dumps({f"video_{index}": record for index in range(2)}))
    shown = original(
        repo, "-r", "checkpoints/one_model.ckpt", "--driver", str(drivers), "--input", str(tmp_path / "face")
    )
    assert shown.shape == (2 * 512, 2 * 512, 3)
    assert np.abs(shown[511, -1] - shown[300, -100]).max() > 50  # the mark


def test_the_two_stand_ins_share_one_imitation_of_torch() -> None:
    here = Path(__file__).parents[1] / "standins"
    assert (here / "gagavatar" / "torch.py").read_bytes() == (here / "gpavatar" / "torch.py").read_bytes()
