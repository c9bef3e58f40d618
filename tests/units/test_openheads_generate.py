"""Generating OpenHeads: the same files however it is interrupted, and never half a file."""

from __future__ import annotations

import errno
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.datasets.video import Video
from avatarbench.errors import DataError, UsageError
from avatarbench.metrics.face import NO_FACE
from avatarbench.openheads import crew, split, studio, worker
from avatarbench.openheads.cameras import FRONTAL, SERIALS, target_cameras
from avatarbench.openheads.generate import SAMPLES_STEP, Request, generate, index_of, number_of
from avatarbench.openheads.identity import draw
from avatarbench.openheads.layout import Take, total_bytes
from avatarbench.openheads.split import SplitPlan, make_split
from avatarbench.openheads.views import TrainingPlan, ViewsPlan
from avatarbench.openheads.worker import Moment, Reel
from avatarbench.tracking.landmarks import track_frames
from avatarbench.tracking.track_file import load_track
from avatarbench.tracking.truth import read_truth
from tests.e2e.media import moving_face
from tests.units.openheads_fake import Inline, PaintingStudio

CAMERAS = (FRONTAL, SERIALS[0])


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> Inline:
    found = Inline()
    monkeypatch.setattr(studio, "Studio", PaintingStudio)
    monkeypatch.setattr(crew, "run", found)
    return found


def request(out: Path, **changes: object) -> Request:
    plain = Request(out, 2, 5, 32, 4, ("FREE", "EXP-5-mouth"), CAMERAS, frames=3, tracking=False)
    return replace(plain, **changes)  # type: ignore[arg-type]


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_generated_folder_holds_the_layout_and_nothing_else(tmp_path: Path, inline: Inline) -> None:
    seen: list[tuple[int, int]] = []
    assert generate(request(tmp_path), 1, lambda done, total: seen.append((done, total))) == 24
    assert seen[0] == (0, 24)
    assert seen[-1] == (24, 24)
    expected = {"openheads.json", ".openheads.json.lock"}
    for number in ("001", "002"):
        expected |= {f"{number}/identity.json", f"{number}/calibration/camera_params.json"}
        for name in ("FREE", "EXP-5-mouth"):
            expected |= {f"{number}/sequences/{name}/truth.npz"}
            expected |= {
                f"{number}/sequences/{name}/{kind}/cam_{serial}.mp4"
                for kind in ("images", "masks")
                for serial in CAMERAS
            }
    assert set(contents(tmp_path)) == expected
    assert not list(tmp_path.rglob(".frames"))


def test_videos_hold_the_pictures_in_order_and_masks_are_grey(tmp_path: Path, inline: Inline) -> None:
    generate(request(tmp_path), 1)
    moments = [job for job in inline.done if isinstance(job, Moment)]
    take = Take(tmp_path, 2, "EXP-5-mouth")
    of_take = [m for m in moments if "/002/EXP-5-mouth/" in m.key]
    assert [m.key.rsplit("/", 1)[1] for m in of_take] == ["0", "1", "2"]
    with np.load(take.truth) as truth:
        assert np.array_equal(truth["expression"], [m.state.expression for m in of_take])
    for serial in CAMERAS:
        pictures, masks = Video(take.image_video(serial)), Video(take.mask_video(serial))
        assert len(pictures) == len(masks) == 3
        assert len({pictures.read(frame).tobytes() for frame in range(3)}) == 3
        assert np.array_equal(masks.read(1)[..., 0], masks.read(1)[..., 2])
    assert all(len(m.shots) == 2 for m in moments)  # the cameras of one moment share its work


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 9, 13])
def test_an_interrupted_run_continues_to_the_same_bytes(tmp_path: Path, inline: Inline, limit: int) -> None:
    generate(request(tmp_path / "whole"), 1)
    inline.limit = len(inline.done) + limit
    with pytest.raises(KeyboardInterrupt):
        generate(request(tmp_path / "cut"), 1)
    for video in (tmp_path / "cut").rglob("*.mp4"):
        assert len(Video(video)) == 3
    before = sum(1 for job in inline.done[-limit:] if isinstance(job, Moment)) * len(CAMERAS)
    inline.limit = None
    assert generate(request(tmp_path / "cut"), 1) == 24 - before
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_finished_folder_costs_nothing(tmp_path: Path, inline: Inline) -> None:
    generate(request(tmp_path), 1)
    inline.done.clear()
    assert generate(request(tmp_path), 1) == 0
    assert inline.done == []


def test_more_people_sequences_and_cameras_are_added_to_what_is_there(tmp_path: Path, inline: Inline) -> None:
    generate(request(tmp_path / "grown", identities=1, sequences=("FREE",), cameras=(FRONTAL,)), 1)
    assert generate(request(tmp_path / "grown"), 1) == 24 - 3
    generate(request(tmp_path / "at-once"), 1)
    assert contents(tmp_path / "grown") == contents(tmp_path / "at-once")


def test_leftovers_of_a_killed_writer_go(tmp_path: Path, inline: Inline) -> None:
    inline.limit = 2
    with pytest.raises(KeyboardInterrupt):
        generate(request(tmp_path), 1)
    images = tmp_path / "001" / "sequences" / "FREE" / "images"
    images.mkdir(parents=True)
    (images / f".cam_{FRONTAL}.mp4.77-abcd.part").write_bytes(b"half")
    tracking = Take(tmp_path, 1, "FREE").tracking(FRONTAL)
    tracking.parent.mkdir()
    (tracking.parent / f".{tracking.name}.77-abcd.part").write_bytes(b"half")
    (tmp_path / ".openheads.json.77-abcd.part").write_bytes(b"half")
    inline.limit = None
    generate(request(tmp_path, tracking=True), 1)
    assert not list(tmp_path.rglob("*.part"))


def test_leftovers_in_the_test_split_go_and_do_not_count(tmp_path: Path, inline: Inline) -> None:
    plan = SplitPlan(numbers=(501, 509), size=24, samples=4, steps=2)
    size = make_split(tmp_path, 1, split=plan)
    whole = contents(tmp_path)
    assert size == sum(len(data) for data in whole.values())
    files = [p for p in tmp_path.rglob("*") if p.is_file() and not p.name.startswith(".")]
    for file in files:
        file.with_name(f".{file.name}.77-abcd.part").write_bytes(b"half")
    assert total_bytes(tmp_path) == size
    next(f for f in files if f.suffix == ".webp").unlink()  # one picture is rendered again, the others are done
    assert make_split(tmp_path, 1, split=plan) == size
    assert contents(tmp_path) == whole


def test_views_show_a_moment_from_every_camera_and_the_bar_ends_at_the_total(tmp_path: Path, inline: Inline) -> None:
    few = {"EXP-1-head": (0, 2)}
    plan = ViewsPlan((501,), 24, 4, few, {"EXP-5-mouth": (1,)}, (FRONTAL, "222200042"), ("222200048",))
    told: list[tuple[int, int]] = []
    make_split(tmp_path, 1, lambda *done: told.append(done), plan)
    assert told[0] == (0, 8)  # 2 moments from 3 cameras, and 1 from the frontal and the held-out one
    assert told[-1] == (8, 8)
    data = NersembleDataset(tmp_path)
    assert data.length("501_EXP-1-head_222200042") == 2
    assert data.length("501_EXP-5-mouth_222200048") == 1
    assert read_truth(tmp_path / "501" / "sequences" / "EXP-1-head" / "truth.npz").frames.tolist() == [0, 2]
    next(tmp_path.rglob("cam_222200042/frame_00002.webp")).unlink()
    told.clear()
    make_split(tmp_path, 1, lambda *done: told.append(done), plan)
    assert told == [(7, 8), (8, 8)]


def test_training_people_are_those_of_generate_and_a_larger_plan_keeps_the_smaller_ones(
    tmp_path: Path, inline: Inline
) -> None:
    assert [index_of(number_of(index)) for index in (0, 499, 500, 900)] == [0, 499, 500, 900]
    small = TrainingPlan(1, size=24, samples=4, moments=1, cameras=2)
    make_split(tmp_path, 1, split=small)
    before = contents(tmp_path)
    assert json.loads((tmp_path / "001" / "identity.json").read_text()) == json.loads(json.dumps(draw(0, 0).to_json()))
    make_split(tmp_path, 1, split=replace(small, people=2))
    after = contents(tmp_path)
    assert {name: data for name, data in after.items() if name.startswith("001")} == {
        name: data for name, data in before.items() if name.startswith("001")
    }
    assert NersembleDataset(tmp_path).length(f"002_PORTRAIT_{FRONTAL}") == 1
    with pytest.raises(UsageError, match="moments is 1 there and 2 here"):
        make_split(tmp_path, 1, split=replace(small, moments=2))


@pytest.mark.parametrize("suffix", [".png", ".mp4"])
def test_a_full_disk_is_told_and_the_run_goes_on_afterwards(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    real, room = worker.writing, [3]

    @contextmanager
    def full(target: Path):  # type: ignore[no-untyped-def]
        with real(target) as temporary:
            yield temporary
            if target.suffix == suffix:
                room[0] -= 1
                if room[0] < 0:
                    raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(worker, "writing", full)
    with pytest.raises(DataError, match=r"No space left on device.*once there is room, the same command goes on"):
        generate(request(tmp_path / "cut"), 1)
    monkeypatch.setattr(worker, "writing", real)
    generate(request(tmp_path / "cut"), 1)
    generate(request(tmp_path / "whole"), 1)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_tracking_can_be_added_later_without_rendering(tmp_path: Path, inline: Inline) -> None:
    one = request(tmp_path, identities=1, sequences=("FREE",), cameras=(FRONTAL,))
    generate(one, 1)
    inline.done.clear()
    assert generate(replace(one, tracking=True), 1) == 0
    assert all(isinstance(job, Reel) for job in inline.done)
    found = load_track(Take(tmp_path, 1, "FREE").tracking(FRONTAL))
    assert (len(found), found.fps, found.size) == (3, 25.0, (32, 32))
    assert set(found.reasons) == {NO_FACE}  # noise has none
    assert np.isnan(found.arkit).all()


def test_tracking_is_a_track_of_the_video_as_avatarbench_reads_it(tmp_path: Path) -> None:
    frames = tuple(tmp_path / "frames" / f"{at}.png" for at in range(2))
    frames[0].parent.mkdir()
    for file, face in zip(frames, moving_face(2, faceless=(1,)), strict=True):
        Image.fromarray(face).convert("RGBA").save(file)
    reel = Reel(frames, tmp_path / "i.mp4", tmp_path / "m.mp4", tmp_path / "t.npz", 30.0)
    Inline()([reel], 1, lambda job, _: ())
    found = load_track(tmp_path / "t.npz")
    (alone,) = track_frames(moving_face(1)).landmarks
    assert found.found.tolist() == [True, False]
    assert found.faces.tolist() == [1, 0]
    np.testing.assert_array_equal(found.landmarks[0], alone)


def test_another_seed_is_refused_and_nothing_is_touched(tmp_path: Path, inline: Inline) -> None:
    generate(request(tmp_path, identities=1), 1)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="seed is 5 there and 6 here"):
        generate(request(tmp_path, identities=1, seed=6), 1)
    assert contents(tmp_path) == before


def test_a_folder_in_use_is_refused(tmp_path: Path, inline: Inline) -> None:
    with FileLock(tmp_path / ".openheads.json.lock"), pytest.raises(UsageError, match="another process is generating"):
        generate(request(tmp_path), 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file: name a folder"):
        generate(request(tmp_path / "file"), 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identities": 0}, "--identities is 0: give 1 or more"),
        ({"size": 8}, "--size is 8: give 16 or more"),
        ({"samples": 3}, "--samples is 3: give 4 or more"),
        ({"samples": 30}, "--samples is 30: give a multiple of 4, 28 or 32"),
        ({"fps": float("nan")}, "--fps is nan"),
        ({"sequences": ("FREE", "GLASSES")}, "--sequences: no 'GLASSES' in OpenHeads; it has EXP-1-head"),
        ({"cameras": ("1",)}, "--cameras: no '1' in OpenHeads"),
        ({"cameras": ()}, "--cameras: "),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        generate(request(tmp_path / "out", **changes), 1)
    assert not (tmp_path / "out").exists()


def test_samples_divide_among_the_parts_of_a_pixel() -> None:
    assert SAMPLES_STEP == studio.SCALE**2
    assert SplitPlan().samples % SAMPLES_STEP == 0
    assert Request(Path("out"), 1).samples % SAMPLES_STEP == 0


def test_people_of_the_training_split_never_have_a_test_persons_number() -> None:
    numbers = [number_of(index) for index in range(1200)]
    assert numbers[:3] == [1, 2, 3]
    assert len(set(numbers)) == 1200
    assert not set(numbers) & set(split.NUMBERS)


PINNED = {
    "cameras_sha256": "dae9ec73c3c28007b2289159c4da09d2fcd7ea7d282250096d07d35da9727f4b",
    "FREE": "f2d74c36f2d7a88f0c9489189a8df131e9659b14ddcc26d674c186692d0a59f2",
    "scene_sha256": "078362402e8c7c089d0ba34b100353f960906e5c07858dd443815ab34ef87e05",
}
"""Whatever changes one of these makes other data of a seed: give ``manifest.VERSION`` or ``identity.VERSION`` another
number with it, and generate the shipped test split anew."""


def test_a_seed_makes_the_same_scenes_as_ever(tmp_path: Path, inline: Inline) -> None:
    generate(request(tmp_path), 1)
    found = json.loads((tmp_path / "openheads.json").read_text())
    assert found["seed"] == 5
    motion = found["scenes"]["002"]["sequences"]["FREE"]
    assert {"cameras_sha256": found["cameras_sha256"], "FREE": motion} == {k: PINNED[k] for k in list(PINNED)[:2]}
    assert found["scene_sha256"] == PINNED["scene_sha256"], "people are drawn differently"


def test_the_test_split_is_the_one_that_the_protocols_expect(tmp_path: Path, inline: Inline) -> None:
    plan = SplitPlan(numbers=(501, 509), size=24, samples=4, steps=6)
    size = make_split(tmp_path, 1, split=plan)
    assert size == sum(len(data) for data in contents(tmp_path).values())
    assert {p.name for p in (tmp_path / "501" / "sequences").iterdir()} == {"PORTRAIT", "FREE", "FREE-AS-509"}
    assert {p.name for p in (tmp_path / "509" / "sequences").iterdir()} == {"PORTRAIT", "FREE"}
    portrait = Take(tmp_path, 501, "PORTRAIT")
    assert [p.name for p in (portrait.folder / "images").rglob("*.webp")] == ["frame_00000.webp"]
    assert portrait.image_frame(FRONTAL, 0).exists()
    serials = target_cameras(split.SEED, 509)
    for number, name in ((509, "FREE"), (501, "FREE-AS-509")):
        take = Take(tmp_path, number, name)
        for at, serial in enumerate(serials):
            frames = sorted(p.name for p in (take.folder / "images" / f"cam_{serial}").iterdir())
            assert frames == [f"frame_{15 * step:05d}.webp" for step in (at, at + 3)]
        with np.load(take.truth) as truth, np.load(Take(tmp_path, 509, "FREE").truth) as driver:
            assert truth["frames"].tolist() == [0, 15, 30, 45, 60, 75]
            assert np.array_equal(truth["expression"], driver["expression"])
    with Image.open(portrait.image_frame(FRONTAL, 0)) as image, Image.open(portrait.mask_frame(FRONTAL, 0)) as mask:
        assert image.size == (24, 24)
        grey = np.asarray(mask.convert("RGB"))
        assert np.array_equal(grey[..., 0], grey[..., 2])


def test_webp_is_lossless_and_the_split_resumes(tmp_path: Path, inline: Inline) -> None:
    plan = SplitPlan(numbers=(502,), size=24, samples=4, steps=3)
    inline.limit = 3
    with pytest.raises(KeyboardInterrupt):
        make_split(tmp_path / "cut", 1, split=plan)
    inline.limit = None
    make_split(tmp_path / "cut", 1, split=plan)
    make_split(tmp_path / "whole", 1, split=plan)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    for job in (job for job in inline.done if isinstance(job, Moment)):
        (shot,) = job.shots
        assert shot.mask is not None
        assert shot.image.parts[-2:] == shot.mask.parts[-2:]
    (first, *_) = (job for job in inline.done if isinstance(job, Moment))
    seed = worker.noise_seed(first, first.shots[0])
    picture = PaintingStudio(first.identity).render(first.state, first.shots[0].camera, 4, seed)
    with Image.open(first.shots[0].image) as image:
        assert np.array_equal(np.asarray(image), picture.rgb)


@pytest.mark.slow
def test_processes_of_a_crew_do_their_jobs_and_what_follows(tmp_path: Path) -> None:
    """Two real processes; encoding stands for rendering, which takes longer to set up."""

    def reel(name: str) -> Reel:
        frames = tuple(tmp_path / name / f"{i}.png" for i in range(2))
        for at, file in enumerate(frames):
            file.parent.mkdir(exist_ok=True)
            Image.new("RGBA", (16, 16), (at * 90, 9, 9, 255)).save(file)
        return Reel(frames, tmp_path / f"{name}-i.mp4", tmp_path / f"{name}-m.mp4", None, 25.0)

    broken = Reel((tmp_path / "none" / "0.png",), tmp_path / "x.mp4", tmp_path / "y.mp4", None, 25.0)
    followers = {"a-i.mp4": [reel("c")], "c-i.mp4": [broken]}
    with pytest.raises(DataError, match=r"0\.png cannot be read or written"):
        crew.run([reel("a"), reel("b")], 2, lambda job, _: followers.get(job.image.name, []))
    assert all(len(Video(tmp_path / f"{name}-{kind}.mp4")) == 2 for name in "abc" for kind in "im")
    assert not (tmp_path / "x.mp4").exists()
