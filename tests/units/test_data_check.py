"""What ``avatarbench data check`` says of folders that lack something, and of the manifest that it keeps."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avatarbench.datasets import ledger
from avatarbench.datasets.check import Report, Subject, check
from avatarbench.datasets.images import write_png
from avatarbench.datasets.layouts import write_vfhq
from avatarbench.datasets.ledger import NAME, load_ledger
from avatarbench.datasets.marks import write_mark
from avatarbench.datasets.probe import probe
from avatarbench.errors import DataError, UsageError
from tests.e2e.media import write_video
from tests.units.nersemble_fixture import FRONTAL, LEFT, pictures, write_calibration, write_videos


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder whose name is not ASCII."""
    found = tmp_path / "Köpfe 頭"
    found.mkdir()
    return found


def write_clip(root: Path, name: str, numbers: list[int]) -> Path:
    for number in numbers:
        write_png(root / name / f"{number:08d}.png", np.full((8, 8, 3), number % 256, np.uint8))
    return root / name


def timed_video(path: Path, times: list[int]) -> None:
    """A lossless video whose frames are shown at ``times``, in ticks of 1/100 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=25, options={"crf": "0", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        stream.codec_context.time_base = Fraction(1, 100)
        for time, picture in zip(times, pictures(len(times)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def turned(path: Path) -> None:
    """Write a quarter turn into the display matrix of an mp4's video track."""
    data = bytearray(path.read_bytes())
    identity = b"".join(v.to_bytes(4, "big", signed=True) for v in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    quarter = b"".join(v.to_bytes(4, "big", signed=True) for v in (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))
    at = data.index(identity, data.index(b"tkhd"))
    data[at : at + len(identity)] = quarter
    path.write_bytes(data)


def by_name(report: Report) -> dict[str, Subject]:
    return {subject.name: subject for subject in report.subjects}


def test_clips_with_gaps_or_too_few_frames_are_named_and_so_are_those_that_are_not_there(place: Path) -> None:
    write_clip(place, "Clip+a+P0+C0+F0-101", list(range(102)))
    write_clip(place, "Clip+b+P0+C0+F0-101", [*range(50), *range(52, 102)])
    write_clip(place, "Clip+c+P0+C0+F0-3", [0, 1, 2])
    cut = write_clip(place, "Clip+d+P0+C0+F5-7", [5, 6, 7]) / "00000006.png"
    cut.write_bytes(cut.read_bytes()[:40])
    (place / "Clip+e+P0+C0+F0-9").mkdir()
    report = check("vfhq", place, place / NAME)
    whole, gap, short, torn, empty = report.subjects
    assert whole.well
    assert (whole.present, gap.missing) == ("102 frames", ["2 of the frames 0 to 101"])
    assert short.broken == ["3 frames, the protocols draw 101"]
    assert [text.split(":")[0] for text in torn.broken] == ["00000006.png", "2 frames, the protocols draw 101"]
    assert empty.missing == ["every frame"]
    assert report.missing[0] == "45 of VFHQ-Test's 50 clips are not there"
    assert not report.well


def test_generated_data_may_be_small_and_says_what_it_is(place: Path) -> None:
    write_vfhq(place, ("501",), frames=2)
    report = check("vfhq", place, place / NAME)
    assert report.well
    assert report.mark == "openheads"
    assert report.subjects[0].notes == ["2 frames, the protocols draw 101"]


def test_videos_that_are_empty_cut_uneven_or_turned_are_told_apart(place: Path) -> None:
    write_video(place / "RD_whole_000.mp4", pictures(6))
    (place / "RD_empty_000.mp4").write_bytes(b"")
    whole = (place / "RD_whole_000.mp4").read_bytes()
    (place / "RD_cut_000.mp4").write_bytes(whole[: len(whole) // 2])
    (place / "RD_later_000.mp4.part").write_bytes(whole[:100])
    timed_video(place / "RD_even_000.mp4", [0, 4, 8, 12, 16])
    timed_video(place / "RD_uneven_000.mp4", [0, 4, 8, 20, 24])
    (place / "RD_turned_000.mp4").write_bytes(whole)
    turned(place / "RD_turned_000.mp4")
    write_mark(place, "openheads")
    found = by_name(check("hdtf", place, place / NAME))
    assert found["RD_whole_000.mp4"].well
    assert found["RD_even_000.mp4"].well
    assert found["RD_empty_000.mp4"].broken == ["RD_empty_000.mp4: empty: 0 bytes"]
    assert "not a video that can be read" in found["RD_cut_000.mp4"].broken[0]
    assert found["RD_later_000.mp4.part"].missing == ["RD_later_000.mp4.part is half-downloaded"]
    assert "variable frame rate: 1 of 4 gaps" in found["RD_uneven_000.mp4"].broken[0]
    assert found["RD_turned_000.mp4"].well
    assert "in its metadata, read upright" in found["RD_turned_000.mp4"].notes[0]


def test_damage_inside_a_video_is_found_by_decoding_it(place: Path) -> None:
    path = write_video(place / "x.mp4", pictures(6))
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 700
    data[start : start + 400] = bytes(400)
    path.write_bytes(data)
    assert probe(path).problem == ""
    assert "damaged" in probe(path, decode=True).problem


def test_a_person_without_calibration_or_a_camera_that_others_have_is_named(place: Path) -> None:
    write_videos(place, "017", "FREE", {FRONTAL: pictures(30), LEFT: pictures(30, 1)})
    write_videos(place, "018", "FREE", {FRONTAL: pictures(30)})
    alone = write_videos(place, "019", "EXP-1-head", {FRONTAL: pictures(2)})
    (alone / "calibration" / "camera_params.json").unlink()
    person = write_videos(place, "020", "FREE", {FRONTAL: pictures(30), LEFT: pictures(28)})
    write_calibration(person, intrinsics=[[1]])
    (person / "sequences" / "FREE" / "images" / f"cam_{LEFT}.mp4.part").write_bytes(b"x")
    (place / "021").mkdir()
    found = by_name(check("nersemble", place, place / NAME))
    assert found["017"].well
    assert found["017"].present == "1 recordings, 2 views"
    assert found["017"].notes == ["neither masks nor pictures of the empty stage: backgrounds can only be kept"]
    assert found["018"].missing == [f"FREE: camera {LEFT}"]
    assert found["019"].missing == [
        "FREE, which the protocols draw from",
        "calibration/camera_params.json: no camera is known",
    ]
    assert "intrinsics is not a 3 x 3 matrix of finite numbers. (2 cameras)" in found["020"].broken[0]
    assert found["020"].missing == [f"020/sequences/FREE/images/cam_{LEFT}.mp4.part is half-downloaded"]
    assert any("28" in note and "30 frames" in note for note in found["020"].notes)
    assert found["021"].missing == ["every recording"]


def test_a_second_check_reads_only_what_changed_and_gives_the_same_hash(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_vfhq(place, ("501", "502"), frames=2)
    first = check("vfhq", place, place / NAME)
    hashed: list[str] = []
    real = ledger.sha256
    monkeypatch.setattr(ledger, "sha256", lambda path: (hashed.append(path.name), real(path))[1])
    again = check("vfhq", place, place / NAME)
    assert hashed == []
    assert again.ledger.contents == first.ledger.contents
    changed = place / "Clip+OpenHeads501+P0+C0+F0-1" / "00000001.png"
    write_png(changed, np.zeros((8, 8, 3), np.uint8))
    assert check("vfhq", place, place / NAME).ledger.contents != first.ledger.contents
    assert hashed == ["00000001.png"]
    os.utime(changed, ns=(1, 1))
    check("vfhq", place, place / NAME)
    assert hashed == ["00000001.png"] * 2


def test_an_interrupted_check_keeps_what_it_hashed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_vfhq(place, ("501",), frames=2)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("vfhq", place, place / NAME, advance=stop)
    kept = load_ledger(place / NAME, "vfhq")
    assert (len(kept.entries), kept.complete) == (1, False)
    hashed: list[Path] = []
    real = ledger.sha256
    monkeypatch.setattr(ledger, "sha256", lambda path: (hashed.append(path), real(path))[1])
    report = check("vfhq", place, place / NAME)
    assert (len(hashed), report.ledger.complete) == (1, True)


def test_a_manifest_that_was_edited_is_refused(place: Path) -> None:
    write_vfhq(place, ("501",), frames=1)
    path = place / NAME
    check("vfhq", place, path)
    content = json.loads(path.read_text())
    (row,) = content["files"].values()
    row[2] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="was changed after it was written"):
        check("vfhq", place, path)
    path.write_text("[]")
    with pytest.raises(DataError, match="is no manifest of hashes"):
        check("vfhq", place, path)
    path.unlink()
    check("vfhq", place, path)
    with pytest.raises(DataError, match="is of 'vfhq' in format 1, and 'hdtf'"):
        load_ledger(path, "hdtf")


def test_a_data_folder_is_only_read_where_the_manifest_goes_elsewhere(place: Path, tmp_path: Path) -> None:
    write_vfhq(place, ("501",), frames=1)
    before = sorted(place.rglob("*"))
    check("vfhq", place, tmp_path / "out" / "vfhq.json")
    assert sorted(place.rglob("*")) == before
    with pytest.raises(UsageError, match=r"cannot be written to .*: name another with --out"):
        check("vfhq", place, before[-1] / NAME)  # below a file nothing can be written


def test_names_and_folders_that_cannot_be_checked_are_refused(place: Path) -> None:
    with pytest.raises(UsageError, match=r"'vhfq' has no check, did you mean 'vfhq'\?"):
        check("vhfq", place, place / NAME)
    for name, looked_for in (("vfhq", "looked for Clip"), ("hdtf", "looked for NAME"), ("nersemble", "looked for NNN")):
        with pytest.raises(DataError, match=looked_for):
            check(name, place, place / NAME)
        with pytest.raises(DataError, match="does not exist"):
            check(name, place / "none", place / NAME)
