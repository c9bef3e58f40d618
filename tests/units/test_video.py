import struct
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from avatarbench.datasets.video import Video
from avatarbench.errors import DataError

COUNT = 40


def write_video(path: Path, frames: list[NDArray[np.uint8]], **options: str) -> None:
    """H.264 with B-frames and a keyframe at least every 12 frames, so that seeking has something to get wrong."""
    settings = {"g": "12", "bf": "2", "crf": "18", **options}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=settings)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def moving(count: int = COUNT, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return [np.roll(noise, 2 * i, axis=1) // 2 + np.uint8(i) for i in range(count)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(path, moving())
    return path


def test_length_is_the_number_of_frames(clip: Path) -> None:
    assert len(Video(clip)) == COUNT


@pytest.mark.parametrize("options", [{}, {"x264-params": "open-gop=1"}, {"x264-params": "intra-refresh=1"}])
def test_any_order_of_reading_equals_decoding_from_the_start(tmp_path: Path, options: dict[str, str]) -> None:
    write_video(tmp_path / "a.mp4", moving(), **options)
    forward = Video(tmp_path / "a.mp4")
    expected = [forward.read(i) for i in range(COUNT)]
    order = [*np.random.default_rng(1).integers(0, COUNT, 30).tolist(), COUNT - 1, 0, 12, 11, 12, 13, 30, 24]
    video = Video(tmp_path / "a.mp4")
    for index in order:
        assert np.array_equal(video.read(index), expected[index]), index


def test_frames_are_those_that_were_written(tmp_path: Path) -> None:
    levels = [40, 200, 90]
    write_video(tmp_path / "a.mp4", [np.full((32, 32, 3), level, np.uint8) for level in levels])
    video = Video(tmp_path / "a.mp4")
    assert [abs(int(video.read(i).mean()) - level) <= 2 for i, level in enumerate(levels)] == [True] * 3


def test_reading_after_close_opens_again(clip: Path) -> None:
    video = Video(clip)
    before = video.read(5)
    video.close()
    assert np.array_equal(video.read(5), before)


def test_an_untagged_colour_matrix_is_assumed_with_a_note(clip: Path) -> None:
    assert Video(clip).notes == ("colour matrix not tagged, BT.601 taken",)


def test_an_index_outside_is_refused(clip: Path) -> None:
    for index in (-1, COUNT):
        with pytest.raises(DataError, match=f"frames 0 to {COUNT - 1}"):
            Video(clip).read(index)


def test_rotation_metadata_is_applied(tmp_path: Path) -> None:
    left_white = np.zeros((32, 64, 3), np.uint8)
    left_white[:, :32] = 255
    write_video(tmp_path / "a.mp4", [left_white] * 3)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 44
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 32 * one, 0, 1 << 30)  # clockwise on display
    (tmp_path / "a.mp4").write_bytes(data)
    video = Video(tmp_path / "a.mp4")
    image = video.read(0)
    assert image.shape == (64, 32, 3)
    assert image[:28].min() > 240  # left becomes top
    assert image[36:].max() < 15
    assert "rotation of 90 degrees applied" in video.notes


def test_a_file_cut_before_its_index_names_itself(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut\.mp4 is not a video that can be read \(0 frames"):
        len(Video(path))


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_a_truncated_video_says_how_many_frames_could_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    frames = moving()
    if name.endswith("mp4"):
        write_video(tmp_path / "whole.mp4", frames)
        with (
            av.open(str(tmp_path / "whole.mp4")) as source,
            av.open(str(path), "w", options={"movflags": "faststart"}) as out,
        ):
            stream = out.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    else:
        write_video(path, frames)
    assert len(Video(path)) == COUNT
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(DataError, match=r"damaged or truncated: ([1-9]|[12]\d|3\d) frames could be read"):
        len(Video(path))


def test_corrupt_data_in_the_middle_is_refused(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + len(data) // 3
    data[start : start + 2000] = np.random.default_rng(0).integers(0, 256, 2000, dtype=np.uint8).tobytes()
    (tmp_path / "bad.mp4").write_bytes(data)
    with pytest.raises(DataError, match=r"bad\.mp4 is damaged or truncated: \d+ frames could be read"):
        Video(tmp_path / "bad.mp4").read(0)


def test_text_renamed_an_empty_file_and_a_missing_path_are_data_errors(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello" * 100)
    (tmp_path / "zero.mp4").touch()
    for name in ("text.mp4", "zero.mp4"):
        with pytest.raises(DataError, match=f"{name} is not a video"):
            len(Video(tmp_path / name))
    with pytest.raises(DataError, match="does not exist"):
        Video(tmp_path / "missing.mp4")
    with pytest.raises(DataError, match="is not a file"):
        Video(tmp_path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(DataError, match="no video stream"):
        len(Video(tmp_path / "a.mp4"))


def test_a_stream_without_frames_is_refused(clip: Path, tmp_path: Path) -> None:
    with av.open(str(clip)) as source, av.open(str(tmp_path / "a.mkv"), "w") as out:
        out.add_stream_from_template(source.streams.video[0])
        out.start_encoding()
    with pytest.raises(DataError, match="0 frames"):
        len(Video(tmp_path / "a.mkv"))
