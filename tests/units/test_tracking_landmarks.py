"""A stream of frames becomes a track: in order, without keeping pixels, with holes that say why they are there."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from avatarbench.errors import DataError
from avatarbench.metrics.face import ARKIT_NAMES, NO_FACE
from avatarbench.metrics.face import track as read_all
from avatarbench.tracking.landmarks import track_frames
from avatarbench.tracking.track_file import Track, load_track
from tests.e2e.media import FACE, moving_face, two_faces
from tests.e2e.media import NO_FACE as BLANK

AWAY = range(3, 33)


@pytest.fixture(scope="module")
def gap() -> Track:
    """A face that drifts to the right by a pixel a frame and leaves the picture for thirty frames."""
    return track_frames(iter(moving_face(36, faceless=tuple(AWAY))), fps=25)


def test_a_face_that_leaves_for_thirty_frames_leaves_nan_rows_with_a_reason_and_is_found_again(gap: Track) -> None:
    assert [n for n in range(36) if not gap.found[n]] == list(AWAY)
    for array in (gap.landmarks, gap.arkit, gap.head):
        assert np.isnan(array[list(AWAY)]).all()
        assert np.isfinite(array[[0, 1, 2, 33, 34, 35]]).all()
    assert {gap.reasons[n] for n in AWAY} == {NO_FACE}
    assert set(gap.faces[list(AWAY)].tolist()) == {0}
    assert gap.face(10) is None


def test_rows_are_in_temporal_order_and_read_as_frames_read_alone_do(gap: Track) -> None:
    frames = moving_face(36)
    x = gap.landmarks[gap.found][:, 1, 0]
    assert (np.diff(x) > 0).all()
    assert x[-1] - x[0] == pytest.approx(35, abs=2)
    (alone,) = read_all([frames[34]])
    face = gap.face(34)
    assert face is not None
    np.testing.assert_array_equal(face.landmarks, alone.landmarks)
    np.testing.assert_array_equal(face.arkit, alone.arkit)


def test_no_frame_is_held_once_the_next_but_one_is_asked_for() -> None:
    seen: list[weakref.ref[np.ndarray]] = []

    def stream() -> Iterator[np.ndarray]:
        for _ in range(5):
            assert sum(ref() is not None for ref in seen) <= 1
            frame = BLANK.copy()
            seen.append(weakref.ref(frame))
            yield frame
            del frame

    done: list[int] = []
    assert len(track_frames(stream(), on_frame=done.append)) == 5
    assert done == [1, 2, 3, 4, 5]


def test_the_number_of_faces_is_noted_and_the_largest_is_tracked() -> None:
    found = track_frames([two_faces()])
    assert found.faces.tolist() == [2]
    assert found.landmarks[0, 1, 0] > 256  # the right one is larger


def test_frames_of_two_sizes_and_no_frames_are_refused() -> None:
    with pytest.raises(DataError, match=r"frame 1 is 200 x 180 pixels and the first is 200 x 200"):
        track_frames([BLANK, BLANK[:180]])
    with pytest.raises(DataError, match="no frame"):
        track_frames([])


def test_a_track_survives_its_file(gap: Track, tmp_path: Path) -> None:
    gap.save(tmp_path / "track.npz")
    back = load_track(tmp_path / "track.npz")
    for key in ("landmarks", "arkit", "head", "found", "faces"):
        np.testing.assert_array_equal(getattr(back, key), getattr(gap, key))
    assert (back.reasons, back.size, back.fps) == (gap.reasons, (276, 240), 25.0)
    assert len(ARKIT_NAMES) == back.arkit.shape[1]


def test_a_file_that_is_no_track_is_refused_by_key(tmp_path: Path) -> None:
    track_frames([FACE]).save(tmp_path / "track.npz")
    with np.load(tmp_path / "track.npz") as file:
        arrays = dict(file)
    for change, message in (
        ({"head": arrays["head"][:, :3]}, r"'head' of shape \(1, 3, 4\), where \(1, 4, 4\) is expected"),
        ({"arkit_names": arrays["arkit_names"][::-1]}, "orders its 52 coefficients in another way"),
        ({"landmarks": None}, "has no 'landmarks'"),
    ):
        changed = {key: value for key, value in {**arrays, **change}.items() if value is not None}
        np.savez(tmp_path / "other.npz", **changed)
        with pytest.raises(DataError, match=message):
            load_track(tmp_path / "other.npz")
    (tmp_path / "other.npz").write_bytes((tmp_path / "track.npz").read_bytes()[:500])
    with pytest.raises(DataError, match=r"other\.npz cannot be read.*run avatarbench track again"):
        load_track(tmp_path / "other.npz")
    np.savez(tmp_path / "pickled.npz", found=np.array([{}], object))
    with pytest.raises(DataError, match=r"pickled\.npz cannot be read.*run avatarbench track again"):
        load_track(tmp_path / "pickled.npz")


def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    gap: Track, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: Path("/dev/full").write_bytes(b"x" * 100_000))
    with pytest.raises(OSError, match="No space left"):
        gap.save(tmp_path / "track.npz")
    assert list(tmp_path.iterdir()) == []
