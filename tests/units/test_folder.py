import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench import assets
from avatarbench.datasets.embedded import CLIP, PORTRAITS, clip, portraits
from avatarbench.datasets.folder import FolderDataset
from avatarbench.datasets.names import sequence_names
from avatarbench.errors import DataError
from tests.units.test_video import moving, write_video


def save(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (level, level, level)).save(path)


def test_images_videos_and_frame_folders_are_sequences(tmp_path: Path) -> None:
    save(tmp_path / "anna.png", 10)
    for i in (1, 2, 10):
        save(tmp_path / "take" / f"frame{i}.png", i)
    write_video(tmp_path / "talk.mp4", moving(5))
    (tmp_path / "readme.txt").write_text("not an image")
    (tmp_path / "empty").mkdir()
    data = FolderDataset(tmp_path)
    assert list(data.sequences()) == ["anna", "take", "talk"]
    assert [data.length(s) for s in data.sequences()] == [1, 3, 5]
    assert data.read("anna", 0)[0, 0, 0] == 10
    assert data.read("talk", 4).shape == (48, 64, 3)


def test_frames_are_in_natural_order(tmp_path: Path) -> None:
    for i in (1, 2, 9, 10, 100):
        save(tmp_path / "take" / f"frame{i}.png", i)
    data = FolderDataset(tmp_path)
    assert [int(data.read("take", i)[0, 0, 0]) for i in range(5)] == [1, 2, 9, 10, 100]


def test_frames_directly_in_a_clips_folder_are_one_sequence_in_natural_order(tmp_path: Path) -> None:
    for i in (1, 2, 10):
        save(tmp_path / "take one" / f"frame{i}.png", i)
    data = clip(tmp_path / "take one")
    assert list(data.sequences()) == ["take_one"]
    assert [int(data.read("take_one", i)[0, 0, 0]) for i in range(data.length("take_one"))] == [1, 2, 10]
    assert list(portraits(tmp_path / "take one").sequences()) == ["frame1", "frame10", "frame2"]
    save(tmp_path / "take one" / "other" / "a.png", 5)
    write_video(tmp_path / "take one" / "talk.mp4", moving(5))
    data = clip(tmp_path / "take one")
    assert {s: data.length(s) for s in data.sequences()} == {"other": 1, "take_one": 3, "talk": 5}


def test_frames_are_named_by_their_files_and_those_of_videos_by_index(tmp_path: Path) -> None:
    for name in ("frame10.png", "frame2.png", "a b.jpg", "v1.5.png"):
        save(tmp_path / "take" / name, 1)
    write_video(tmp_path / "talk.mp4", moving(3))
    data = FolderDataset(tmp_path)
    assert data.frame_names("take") == ["a b", "frame2", "frame10", "v1.5"]
    assert data.frame_names("talk") == ["000000", "000001", "000002"]
    save(tmp_path / "take" / "frame2.jpg", 1)
    with pytest.raises(DataError, match=r"frame2\.jpg and frame2\.png in .*take would both be frame 'frame2'"):
        FolderDataset(tmp_path).frame_names("take")


def test_a_single_file_is_one_sequence(tmp_path: Path) -> None:
    save(tmp_path / "anna.png", 10)
    write_video(tmp_path / "talk.mp4", moving(5))
    assert list(FolderDataset(tmp_path / "anna.png").sequences()) == ["anna"]
    assert FolderDataset(tmp_path / "talk.mp4", name="clip").length("clip") == 5


def test_digest_is_that_of_the_file_and_follows_its_contents(tmp_path: Path) -> None:
    save(tmp_path / "anna.png", 10)
    save(tmp_path / "take" / "1.png", 1)
    save(tmp_path / "take" / "2.png", 2)
    data = FolderDataset(tmp_path)
    assert data.digest("anna") == hashlib.sha256((tmp_path / "anna.png").read_bytes()).hexdigest()
    before = data.digest("take")
    save(tmp_path / "take" / "2.png", 3)
    assert FolderDataset(tmp_path).digest("take") != before


def test_odd_names_become_safe_unique_ones_with_the_original_in_a_note(tmp_path: Path) -> None:
    for name in ("Jörg (1).png", "a b.png", "a_b.png", "A_B.jpg", "李.png", "plain.png"):
        save(tmp_path / name, 10)
    data = FolderDataset(tmp_path)
    names = list(data.sequences())
    assert len(names) == 6
    assert len({n.casefold() for n in names}) == 6
    assert all(n.isascii() and not set(n) & set("/\\ ()") for n in names)
    assert "Jorg_1" in names
    assert data.notes("Jorg_1") == ["named 'Jorg_1' for the file name 'Jörg (1).png'"]
    assert data.notes("plain") == []


def test_a_name_does_not_depend_on_the_order_of_files() -> None:
    files = ["a b.png", "a_b.png", "c.png", "c.jpg", "x" * 200 + ".png", "...png"]
    assert sequence_names(files) == sequence_names(files[::-1])
    assert max(map(len, sequence_names(files).values())) < 100


def test_hidden_files_and_links_that_lead_out_are_left_alone(tmp_path: Path) -> None:
    save(tmp_path / "outside" / "secret.png", 1)
    save(tmp_path / "root" / "anna.png", 10)
    save(tmp_path / "root" / ".hidden.png", 10)
    save(tmp_path / "root" / ".cache" / "x.png", 10)
    (tmp_path / "root" / "file.png").symlink_to(tmp_path / "outside" / "secret.png")
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "inside.png").symlink_to("anna.png")
    (tmp_path / "root" / "dangling.png").symlink_to("nowhere.png")
    assert list(FolderDataset(tmp_path / "root").sequences()) == ["anna", "inside"]


def test_a_folder_with_only_links_that_lead_out_says_so(tmp_path: Path) -> None:
    save(tmp_path / "outside.png", 1)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(DataError, match=r"holds no images or videos.*not followed: file\.png"):
        FolderDataset(tmp_path / "root")


def test_paths_without_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds no images or videos \(looked for \.png"):
        FolderDataset(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        FolderDataset(tmp_path / "missing")
    with pytest.raises(DataError, match=r"notes\.txt is neither an image nor a video"):
        FolderDataset(tmp_path / "notes.txt")


def test_unknown_sequences_and_frames_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "anna.png", 10)
    data = FolderDataset(tmp_path)
    with pytest.raises(DataError, match=r"no sequence 'bob'; it has anna"):
        data.read("bob", 0)
    with pytest.raises(DataError, match="has 1 frames; frame 1"):
        data.read("anna", 1)


def test_a_file_that_vanishes_is_a_data_error(tmp_path: Path) -> None:
    save(tmp_path / "anna.png", 10)
    data = FolderDataset(tmp_path)
    (tmp_path / "anna.png").unlink()
    with pytest.raises(DataError, match=r"anna\.png does not exist"):
        data.read("anna", 0)
    with pytest.raises(DataError, match=r"anna\.png cannot be read"):
        data.digest("anna")


def test_conversions_are_noted_once_read(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 3).save(tmp_path / "grey.png")
    data = FolderDataset(tmp_path)
    assert data.notes("grey") == []
    data.read("grey", 0)
    data.read("grey", 0)
    assert data.notes("grey") == ["grey-scale to RGB"]


def test_reading_two_videos_in_turn_keeps_one_decoder_open(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving(5))
    write_video(tmp_path / "b.mp4", moving(7))
    data = FolderDataset(tmp_path)
    first = [data.read("a", i) for i in range(3)]
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for i in range(3):
        assert np.array_equal(data.read("b", i), data.read("b", i))
        assert np.array_equal(data.read("a", i), first[i])
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before
    data.close()


def test_the_embedded_portrait_is_the_astronaut() -> None:
    data = portraits()
    assert list(data.sequences()) == ["astronaut"]
    image = data.read("astronaut", 0)
    assert image.shape == (512, 512, 3)
    image[:] = 0
    assert data.read("astronaut", 0).max() == 255
    assert data.digest("astronaut") == portraits().digest("astronaut")
    with pytest.raises(DataError, match="frame 0"):
        data.read("astronaut", 1)
    with pytest.raises(DataError, match="no sequence 'bob'"):
        data.length("bob")


def test_the_embedded_clip_has_472_frames() -> None:
    assets.pull("driving-clip")
    data = clip()
    assert list(data.sequences()) == ["clip"]
    assert data.length("clip") == 472
    assert data.read("clip", 471).shape == (360, 640, 3)


def test_the_users_own_files_take_the_place_of_the_embedded_ones(tmp_path: Path) -> None:
    save(tmp_path / "anna.png", 10)
    assert list(portraits(tmp_path).sequences()) == ["anna"]
    assert list(clip(tmp_path / "anna.png").sequences()) == ["anna"]
    assert (PORTRAITS.option, CLIP.option) == ("--portraits", "--clip")
