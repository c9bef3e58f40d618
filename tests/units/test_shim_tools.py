"""What shims share: commands judged by their frames, workspaces, names, pictures and videos."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatarbench.datasets.images import read_image
from avatarbench.isolation import interpreters
from avatarbench.isolation.official import TOOLS

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
COPY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2]); print('done'); sys.exit(int(sys.argv[3]))"


@pytest.fixture(scope="module")
def tools() -> Iterator[Any]:
    yield from _loaded("shim_tools")


@pytest.fixture(scope="module")
def video() -> Iterator[Any]:
    yield from _loaded("shim_video")


def _loaded(name: str) -> Iterator[ModuleType]:
    """As a shim finds it: a module by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS[0].parent))
        yield importlib.import_module(name)


@pytest.mark.parametrize("file", TOOLS, ids=lambda f: f.name)
def test_the_files_are_of_python_3_8_and_import_nothing_of_ours(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 8))
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not any(name.startswith("avatarbench") for name in imported)


def test_the_oldest_python_here_compiles_them() -> None:
    python = interpreters.find("3.8") or Path(sys.executable)
    code = "import sys\nfor p in sys.argv[1:]: compile(open(p).read(), p, 'exec')"
    subprocess.run([str(python), "-c", code, *map(str, TOOLS)], check=True)


def test_a_command_is_judged_by_its_frames_and_not_by_its_exit_code(tools: Any, tmp_path: Path) -> None:
    source, out = tools.write_image(str(tmp_path / "in.png"), PICTURE), tmp_path / "out"
    out.mkdir()
    argv = ["python", "-c", COPY, source, str(out / "000000.png"), "1"]
    done = tools.run(argv, str(tmp_path), str(tmp_path / "log"), 30, watch=[str(out)])
    assert (done.code, done.tail) == (1, "done")
    assert tools.harvest(str(out), "*.png", 1, done, size=(32, 24)) == [str(out / "000000.png")]
    argv[-1] = "0"
    argv[4] = str(tmp_path / "elsewhere.png")
    done = tools.run(argv, str(tmp_path), str(tmp_path / "log"), 30, watch=[str(out)])
    with pytest.raises(
        tools.ShimError, match=r"000000.png was there before the job: stale(.|\n)*ended with exit code 0"
    ) as e:
        tools.harvest(str(out), "*.png", 1, done)
    assert str(e.value).endswith("done")


def test_what_takes_too_long_is_stopped_and_shown(tools: Any, tmp_path: Path) -> None:
    said: list[str] = []
    code = "import time; print('step 1\\rstep 2', flush=True); time.sleep(60)"
    with pytest.raises(tools.ShimError, match=r"more than 1 s(.|\n)*signal 9(.|\n)*step 2"):
        tools.run(["python", "-c", code], str(tmp_path), str(tmp_path / "log"), 1.0, said.append)
    with pytest.raises(tools.ShimError, match="cannot start no-such-program"):
        tools.run(["no-such-program"], str(tmp_path), str(tmp_path / "log"), 1.0)
    with pytest.raises(tools.ShimError, match="list of arguments"):
        tools.run("rm -rf /", str(tmp_path), str(tmp_path / "log"), 1.0)


def test_a_flood_of_output_neither_blocks_nor_fills_the_disk(
    tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "LOG_BYTES", 1 << 16)
    code = "import sys\nfor i in range(5000): sys.stderr.write('line %d ' % i + 100 * '.' + '\\n')"
    done = tools.run(["python", "-c", code], str(tmp_path), str(tmp_path / "log"), 60)
    assert "line 4999 ." in done.tail
    assert (tmp_path / "log").stat().st_size < 1 << 17
    assert "line 4999 ." in (tmp_path / "log").read_text()


FAULTS = {
    "empty": (lambda data: b"", "is empty"),
    "cut": (lambda data: data[:-20], "is cut short"),
    "damaged": (lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:], "is damaged"),
    "text": (lambda data: b"Traceback", "is no picture"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_frame_that_is_no_whole_picture_is_named_with_what_is_wrong(tools: Any, tmp_path: Path, name: str) -> None:
    change, fault = FAULTS[name]
    for index in range(2):
        tools.write_image(str(tmp_path / f"{index}.png"), PICTURE)
    (tmp_path / "1.png").write_bytes(change((tmp_path / "1.png").read_bytes()))
    with pytest.raises(tools.ShimError, match=rf"1.png {fault}"):
        tools.harvest(str(tmp_path), "*.png", 2)


def test_frames_too_few_too_many_elsewhere_or_of_another_size_are_refused(tools: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for index in (2, 10):
        tools.write_image(str(out / f"f{index}.png"), PICTURE)
    assert [Path(p).name for p in tools.harvest(str(out), "*.png", 2)] == ["f2.png", "f10.png"]
    with pytest.raises(tools.ShimError, match=r"too few frames: 2 of \*\.png in .*out, 3 expected"):
        tools.harvest(str(out), "*.png", 3)
    with pytest.raises(tools.ShimError, match="too many frames"):
        tools.harvest(str(out), "*.png", 1)
    with pytest.raises(tools.ShimError, match="is of 32x24, where 24x24 is expected"):
        tools.harvest(str(out), "*.png", 2, size=(24, 24))
    tools.write_image(str(tmp_path / "f11.png"), PICTURE)
    (out / "f11.png").symlink_to(tmp_path / "f11.png")
    with pytest.raises(tools.ShimError, match=r"f11\.png lies outside of the folder"):
        tools.harvest(str(out), "*.png", 3)


def test_jpeg_frames_are_looked_at_too(tools: Any, tmp_path: Path) -> None:
    path = tmp_path / "strip.jpg"
    Image.fromarray(PICTURE).save(path)
    assert tools.harvest(str(tmp_path), "*.jpg", 1, size=(32, 24)) == [str(path)]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(tools.ShimError, match="is cut short"):
        tools.harvest(str(tmp_path), "*.jpg", 1)


def test_pictures_are_written_losslessly_as_every_reader_reads_them(tools: Any, tmp_path: Path) -> None:
    path = tools.write_image(str(tmp_path / "new" / "a.png"), PICTURE)
    assert np.array_equal(read_image(Path(path))[0], PICTURE)
    assert np.array_equal(tools.read_image(path), PICTURE)
    assert np.array_equal(tools.read_image(tools.write_image(path, PICTURE / 255.0)), PICTURE)
    with pytest.raises(tools.ShimError, match="shape"):
        tools.write_image(path, PICTURE[..., 0])


def test_names_differ_from_one_job_to_the_next_and_keep_their_order(tools: Any, tmp_path: Path) -> None:
    motions = [{"image": PICTURE}] * 12
    first, second = (tools.write_frames(str(tmp_path), motions) for _ in range(2))
    assert first == sorted(first)
    assert len({*first, *second}) == 24
    with pytest.raises(tools.ShimError, match="2 names, 1 of them different, for 12 frames"):
        tools.write_frames(str(tmp_path), motions, ["a", "a"])


def test_strips_and_grids_are_taken_apart(tools: Any) -> None:
    tiles = [[PICTURE, 255 - PICTURE, PICTURE // 2], [PICTURE // 3, PICTURE // 4, PICTURE // 5]]
    grid = np.concatenate([np.concatenate(row, axis=1) for row in tiles], axis=0)
    row = tools.split_strip(grid, 2, 0, 1)
    assert np.array_equal(tools.split_strip(row, 3, 1, 2), PICTURE // 5)
    with pytest.raises(tools.ShimError, match="has no tile 0 of 7 along axis 1"):
        tools.split_strip(grid, 7, 1, 0)


def test_a_workspace_takes_what_the_code_writes_and_leaves_the_checkout_alone(tools: Any, tmp_path: Path) -> None:
    checkout, weights = tmp_path / "checkout", tmp_path / "weights.pt"
    (checkout / "pkg" / "data").mkdir(parents=True)
    (checkout / "out").mkdir()
    for name in ("run.py", "pkg/a.py", "pkg/data/kept", "out/old.png"):
        (checkout / name).write_text(name)
    weights.write_text("w")
    before = sorted(str(p) for p in checkout.rglob("*"))
    links = {"pkg/data/model.pt": str(weights)}
    work = Path(tools.workspace(str(checkout), str(tmp_path / "work"), own=["out", "cache/deep"], links=links))
    assert (work / "pkg/a.py").read_text() == "pkg/a.py"
    assert (work / "pkg/data/kept").read_text() == "pkg/data/kept"
    assert (work / "pkg/data/model.pt").read_text() == "w"
    assert list((work / "out").iterdir()) == []
    for name in ("out/new.png", "cache/deep/x", "fresh.txt"):
        (work / name).write_text("new")
    assert sorted(str(p) for p in checkout.rglob("*")) == before
    with pytest.raises(tools.ShimError, match="no path inside a workspace"):
        tools.workspace(str(checkout), str(tmp_path / "other"), own=["../up"])


def test_one_process_at_a_time_holds_a_lock(tools: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    ask = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with tools.locked(path):
        assert subprocess.run([sys.executable, "-c", ask, path], capture_output=True, check=False).returncode != 0
    assert not Path(path).exists()


COUNT = """
import sys
sys.path.insert(0, sys.argv[1])
import shim_tools
for _ in range(200):
    with shim_tools.locked("lock"):
        with open("count") as file:
            count = int(file.read())
        with open("count", "w") as file:
            file.write(str(count + 1))
"""


def test_a_lock_whose_file_comes_and_goes_still_lets_in_one_at_a_time(tools: Any, tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", COUNT, str(Path(tools.__file__).parent)]
    processes = [subprocess.Popen(command, cwd=tmp_path) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "600"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


@pytest.mark.parametrize("way", ["av", "cv2"])
def test_a_video_comes_back_frame_by_frame(
    video: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """With what this environment has; ffmpeg is tried by a program of its name."""
    only = video._module
    monkeypatch.setattr(video, "_ffmpeg", lambda: None)
    monkeypatch.setattr(video, "_module", lambda name: only(name) if name == way else None)
    frames = [np.full((64, 48, 3), (level, 128, 255 - level), np.uint8) for level in (20, 90, 160, 230)]
    path = str(tmp_path / "new" / "a.mp4")
    assert video.write_video(path, frames) == {"av": "PyAV", "cv2": "OpenCV"}[way]
    found = video.read_video(path, 4)
    assert all(np.abs(a.astype(int) - b).mean() < 6 for a, b in zip(found, frames, strict=True))
    with pytest.raises(video.VideoError, match="has 4 frames, 5 expected"):
        video.read_video(path, 5)


def test_ffmpeg_is_spoken_to_in_raw_frames(video: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that keeps what it is sent, and gives it back as ffmpeg's image2pipe does."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "if 'rawvideo' in sys.argv:\n"
        "    open(sys.argv[-1], 'wb').write(sys.stdin.buffer.read())\n"
        "else:\n"
        "    data = open(sys.argv[sys.argv.index('-i') + 1], 'rb').read()\n"
        "    for at in range(0, len(data), 24 * 32 * 3):\n"
        "        sys.stdout.buffer.write(b'P6\\n32 24\\n255\\n' + data[at:at + 24 * 32 * 3])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = str(tmp_path / "a.mp4")
    assert video.write_video(path, [PICTURE, 255 - PICTURE]) == "ffmpeg"
    found = video.read_video(path, 2)
    assert np.array_equal(found[0], PICTURE)
    assert np.array_equal(found[1], 255 - PICTURE)


def test_an_environment_without_video_says_what_it_needs(
    video: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_ffmpeg", lambda: None)
    monkeypatch.setattr(video, "_module", lambda name: None)
    with pytest.raises(video.VideoError, match="ffmpeg, imageio-ffmpeg, av or opencv is needed"):
        video.write_video(str(tmp_path / "a.mp4"), [PICTURE])
    with pytest.raises(video.VideoError, match="is not there"):
        video.read_video(str(tmp_path / "b.mp4"))
    with pytest.raises(video.VideoError, match="even sides"):
        video.write_video(str(tmp_path / "a.mp4"), [PICTURE[:-1]])
