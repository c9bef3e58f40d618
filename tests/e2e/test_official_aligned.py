"""Portrait4D-v2 and AvatarArtist against their stand-ins: they render an aligned crop, which goes back where it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench.errors import AvatarbenchError, Unscorable, UsageError
from avatarbench.isolation.official import OfficialMethod
from tests.conftest import Cli
from tests.standins.common import python
from tests.standins.discs import Colour, faceless, mark, motion, nose, portrait
from tests.standins.heads import files, opened, trapped

FOLDERS = {"portrait4dv2": "portrait4d_v2", "avatarartist": "avatarartist"}
WEIGHTS = {"portrait4dv2": "weights/portrait4d-v2-vfhq512.pkl", "avatarartist": "weights"}
OPTIONS: dict[str, dict[str, int]] = {"portrait4dv2": {}, "avatarartist": {"seed": 3}}
COLOURS = [(60, 120, 220), (230, 40, 90), (90, 210, 30)]
SOURCE = (200, 150, 40)
BOTH = pytest.mark.parametrize("at_work", sorted(FOLDERS), indirect=True)
PORTRAIT4D = pytest.mark.parametrize("at_work", ["portrait4dv2"], indirect=True)
AVATARARTIST = pytest.mark.parametrize("at_work", ["avatarartist"], indirect=True)


@dataclass
class AtWork:
    name: str
    repo: Path
    folder: Path
    method: OfficialMethod

    def shows(self, image: np.ndarray, driver: Colour, source: Colour = SOURCE) -> bool:
        """Whether a picture has what its stand-in paints: two numbers that it tracked of the driver, one of the source.

        Left of its middle, away from the mark, and without any loss.
        """
        expected = (driver[0], driver[1], source[2 if self.name == "portrait4dv2" else 0], 255)
        return tuple(image[50, 40]) == expected


@pytest.fixture(scope="module")
def at_work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtWork]:
    """One worker for the tests of a method, as one serves all portraits of a run."""
    name, folder = request.param, tmp_path_factory.mktemp("official")
    repo = trapped(FOLDERS[name], folder)
    with opened(name, repo, repo / WEIGHTS[name], folder / "work", **OPTIONS[name]) as method:
        yield AtWork(name, repo, folder / "work", method)


@pytest.fixture(autouse=True)
def _no_trap_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "at_work" in request.fixturenames:
        (request.getfixturevalue("at_work").repo / "TRAP").unlink(missing_ok=True)


@BOTH
def test_a_prediction_lies_where_its_driver_was_cropped_and_a_faceless_driver_costs_its_own(at_work: AtWork) -> None:
    before = files(at_work.repo)
    first, second, last = (motion(index, each) for index, each in zip((0, 2, 3), COLOURS, strict=True))
    avatar = at_work.method.build(portrait(SOURCE))
    avatar.announce([first, faceless(1), second])
    for driver, colour in ((second, COLOURS[1]), (first, COLOURS[0]), (last, COLOURS[2])):  # one was not announced
        image = np.asarray(avatar.render(driver))
        assert (image.shape, image.dtype) == ((128, 128, 4), np.uint8)
        assert at_work.shows(image, colour)
        np.testing.assert_allclose(mark(image), nose(driver), atol=1.0)
        assert set(np.unique(image[..., 3])) == {0, 255}  # its square is smaller than the picture
        assert not image[image[..., 3] == 0].any()
    with pytest.raises(Unscorable, match="found no face"):
        avatar.render(faceless(1))
    with pytest.raises(Unscorable, match="found no face"):
        at_work.method.build(portrait((90, 90, 90)))
    assert files(at_work.repo) == before


@BOTH
def test_frames_decide_not_the_exit_code_and_none_of_an_earlier_job_is_taken(at_work: AtWork) -> None:
    """Portrait and drivers have the names that they had in the test before, in the same worker."""
    first, second = motion(0, COLOURS[0]), motion(1, COLOURS[1])
    (at_work.repo / "TRAP").write_text("few")
    avatar = at_work.method.build(portrait((100, 150, 70)))
    avatar.announce([first, second])
    assert at_work.shows(np.asarray(avatar.render(first)), COLOURS[0], (100, 150, 70))
    with pytest.raises(AvatarbenchError, match=r"(?s)too few frames: 0 of 0*1\.png.*exit code 1.*CUDA out of memory"):
        avatar.render(second)
    (at_work.repo / "TRAP").write_text("nothing")
    with pytest.raises(AvatarbenchError, match=r"exit code 0"):
        avatar.render(motion(0, COLOURS[0], sequence="sing"))


@PORTRAIT4D
def test_portrait4ds_detector_that_fails_is_not_taken_for_a_picture_without_a_face(at_work: AtWork) -> None:
    avatar = at_work.method.build(portrait())
    (at_work.repo / "TRAP").write_text("cut")
    with pytest.raises(AvatarbenchError, match=r"00000\.png is cut short"):
        avatar.render(motion(0, COLOURS[0]))
    (at_work.repo / "TRAP").write_text("no detector")
    with pytest.raises(AvatarbenchError, match=r"(?s)another reason than a face.*exit code 0.*no kernel image"):
        at_work.method.build(portrait())


@AVATARARTIST
def test_avatarartists_frames_keep_their_drivers_where_one_in_between_was_lost(at_work: AtWork) -> None:
    (at_work.repo / "TRAP").write_text("small face")
    motions = [motion(index, each) for index, each in enumerate(COLOURS)]
    avatar = at_work.method.build(portrait(SOURCE))
    avatar.announce(motions)
    assert at_work.shows(np.asarray(avatar.render(motions[2])), COLOURS[2])
    with pytest.raises(Unscorable, match="too small"):
        avatar.render(motions[1])
    made = next(at_work.folder.rglob("out/0000.png"))
    assert tuple(np.asarray(Image.open(made))[0, 0]) == (30, 30, 30)  # ten times the seed


def test_portrait4ds_own_commands_stop_in_silence_and_render_all_pairs_as_jpeg_strips(tmp_path: Path) -> None:
    """The traps are in the stand-in: what the shim is tested not to do is there to be done."""
    repo = trapped("portrait4d_v2", tmp_path)

    def call(folder: str, *arguments: str | Path) -> None:
        command = [sys.executable, *map(str, arguments)]
        subprocess.run(command, cwd=repo / folder, check=True, capture_output=True, timeout=100)

    pictures, done = tmp_path / "in", tmp_path / "done"
    pictures.mkdir()
    for index, image in enumerate([portrait().image, motion(1, COLOURS[1]).image, faceless(2).image, portrait().image]):
        Image.fromarray(image).save(pictures / f"{index}.png")
    call("data_preprocess", "preprocess_dir.py", f"--input_dir={pictures}", f"--save_dir={done}")
    assert sorted(path.name for path in (done / "align_images").iterdir()) == ["0.png", "1.png"]
    call("data_preprocess", "bfm2flame_simplified.py", f"--input_dir={done}", f"--save_dir={done}")
    call(
        "portrait4d", "gen_images_portrait4d.py", f"--network={repo / WEIGHTS['portrait4dv2']}", f"--srcdir={done}",
        f"--tardir={done}", f"--outdir={tmp_path / 'out'}", "--use_simplified=1",
    )  # fmt: skip
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert made == ["0/00000.jpg", "0/00001.jpg", "1/00000.jpg", "1/00001.jpg"]
    assert Image.open(tmp_path / "out" / made[0]).size == (1536, 512)


def test_a_run_names_the_stand_in_and_brings_its_square_into_the_protocols_frame(cli: Cli, tmp_path: Path) -> None:
    repo = trapped("portrait4d_v2", tmp_path)
    given = ("--repo", repo, "--weights", repo / WEIGHTS["portrait4dv2"], f"+method.portrait4dv2.python={python()}")
    few = ("--metric", "psnr", "--limit", 1, "--out", tmp_path / "runs")
    done = cli("run", "-m", "portrait4dv2", "-p", "clip-self", *given, *few)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(next((tmp_path / "runs").rglob("run.json")).read_text())
    assert [method["stand_in"] for method in record["methods"]] == [True]
    (path,) = (tmp_path / "runs").rglob("predictions/portrait4dv2/**/*.png")
    assert np.asarray(Image.open(path)).shape == (256, 256, 3)


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_what_a_user_lacks_is_named_before_any_work(name: str, tmp_path: Path) -> None:
    repo = trapped(FOLDERS[name], tmp_path)
    (repo / "STANDIN.json").unlink()  # a real one, whose README has its user put further files into it
    with pytest.raises(UsageError) as told, opened(name, repo, repo / WEIGHTS[name], tmp_path, device="cpu"):
        pass
    assert ("FLAME/geometry" if name == "portrait4dv2" else "FaceVerse/v3") in str(told.value)
    assert "on a CUDA device only" in str(told.value)
