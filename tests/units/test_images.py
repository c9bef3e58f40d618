import errno
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from avatarbench.datasets import images
from avatarbench.datasets.images import read_image, require_one, write_png
from avatarbench.errors import DataError


def ramp(height: int = 6, width: int = 8, channels: int = 3) -> NDArray[np.uint8]:
    return np.arange(height * width * channels, dtype=np.uint8).reshape(height, width, channels)


def png_of(samples: NDArray[np.uint16], colour_type: int) -> bytes:
    """A 16-bit PNG, written by hand so that no library's conversion stands between."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp"])
def test_eight_bit_rgb_is_read_exactly_and_without_a_note(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(ramp()).save(path, lossless=True)  # which only WebP heeds
    image, notes = read_image(path)
    assert np.array_equal(image, ramp())
    assert image.dtype == np.uint8
    assert notes == ()


def test_jpeg_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (200, 30, 60)).save(tmp_path / "a.jpg", quality=95)
    image, notes = read_image(tmp_path / "a.jpg")
    assert np.abs(image.astype(int) - (200, 30, 60)).max() <= 3
    assert notes == ()


def test_grey_scale_is_replicated_with_a_note(tmp_path: Path) -> None:
    grey = ramp(channels=1)[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    image, notes = read_image(tmp_path / "a.png")
    assert np.array_equal(image, np.repeat(grey[..., None], 3, 2))
    assert notes == ("grey-scale to RGB",)


@pytest.mark.parametrize(("background", "under"), [("white", 255), ("black", 0)])
def test_transparency_is_composited_on_the_stated_background(
    tmp_path: Path, background: images.Backdrop, under: int
) -> None:
    rgba = np.array([[[100, 150, 200, 255], [100, 150, 200, 0], [100, 150, 200, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image, notes = read_image(tmp_path / "a.png", background)
    expected = [[100, 150, 200], [under] * 3, [round(0.2 * c + 0.8 * under) for c in (100, 150, 200)]]
    assert np.array_equal(image[0], expected)
    assert notes == (f"transparency composited on {background}",)


def test_palette_with_transparency_is_composited(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "a.png", transparency=1)
    image, notes = read_image(tmp_path / "a.png")
    assert np.array_equal(image[0], [[10, 20, 30], [255, 255, 255]])
    assert notes == ("palette to RGB", "transparency composited on white")


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_divided_by_257_and_rounded(tmp_path: Path, colour_type: int, channels: int) -> None:
    samples = np.linspace(0, 65535, 40 * channels).round().astype(np.uint16).reshape(5, 8, channels)
    if channels in (2, 4):
        samples[..., -1] = 65535
    (tmp_path / "a.png").write_bytes(png_of(samples, colour_type))
    image, notes = read_image(tmp_path / "a.png")
    colour = samples[..., :3] if channels >= 3 else samples[..., :1]
    assert np.array_equal(image, np.broadcast_to(np.rint(colour / 257).astype(np.uint8), (5, 8, 3)))
    assert "16-bit to 8-bit" in notes


def test_sixteen_bit_grey_tiff_is_scaled(tmp_path: Path) -> None:
    samples = np.array([[0, 128, 129, 257 * 200, 65535]], np.uint16)
    Image.fromarray(samples).save(tmp_path / "a.tiff")
    image, notes = read_image(tmp_path / "a.tiff")
    assert image[0, :, 0].tolist() == [0, 0, 1, 200, 255]
    assert "16-bit to 8-bit" in notes


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_exif_orientation_is_applied_with_a_note(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:, :16] = 255
    Image.fromarray(picture).save(tmp_path / f"a{suffix}", exif=exif)
    image, notes = read_image(tmp_path / f"a{suffix}")
    assert image.shape == (32, 16, 3)
    assert image[:12].min() > 240
    assert image[20:].max() < 15
    assert notes == ("EXIF orientation applied",)


def test_a_colour_profile_other_than_srgb_is_applied_with_a_note(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # The same profile with red and green exchanged and without "sRGB" in its description.
    swapped = srgb.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    Image.new("RGB", (4, 4), (220, 40, 90)).save(tmp_path / "swapped.png", icc_profile=swapped)
    image, notes = read_image(tmp_path / "swapped.png")
    assert np.abs(image[0, 0].astype(int) - (40, 220, 90)).max() <= 2
    assert notes == ("colour profile 'swap built-in' to sRGB",)


def test_an_srgb_profile_changes_nothing_and_a_broken_one_is_noted(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(ramp()).save(tmp_path / "srgb.png", icc_profile=srgb)
    image, notes = read_image(tmp_path / "srgb.png")
    assert np.array_equal(image, ramp())
    assert notes == ()
    Image.fromarray(ramp()).save(tmp_path / "broken.png", icc_profile=b"not a profile")
    assert read_image(tmp_path / "broken.png")[1] == ("unreadable colour profile ignored",)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp"])
def test_a_truncated_image_names_the_file(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=f"cut{suffix}"):
        read_image(path)


def test_a_truncated_sixteen_bit_png_is_refused_and_not_filled_up(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    data = png_of(noise, 2)
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut\.png is damaged or truncated"):
        read_image(tmp_path / "cut.png")


def test_any_cut_through_a_png_gives_an_image_or_a_data_error(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(ramp(16, 16)).save(buffer, "PNG")
    path = tmp_path / "a.png"
    for length in range(1, len(buffer.getvalue()), 7):
        path.write_bytes(buffer.getvalue()[:length])
        try:
            image, _ = read_image(path)
        except DataError:
            continue
        assert np.array_equal(image, ramp(16, 16))


def test_what_is_not_an_image_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "zero.png").touch()
    for name, message in (
        ("text.png", "is not an image"),
        ("zero.png", "is empty"),
        ("missing.png", "does not exist"),
        (".", "is a folder"),
    ):
        with pytest.raises(DataError, match=message):
            read_image(tmp_path / name)


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_unpacks(tmp_path: Path, side: int) -> None:
    data = bytearray(png_of(np.zeros((1, 1, 3), np.uint16), 2))
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(DataError, match=r"bomb\.png has .* pixels"):
        read_image(tmp_path / "bomb.png")


def test_written_png_comes_back_exactly_and_replaces_atomically(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("old")
    write_png(path, ramp())
    assert np.array_equal(read_image(path)[0], ramp())
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_text("old")

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_png(path, ramp())
    assert os.listdir(tmp_path) == ["a.png"]
    assert path.read_text() == "old"


def test_write_png_refuses_what_it_would_have_to_convert(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8"):
        write_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.float32))


def test_paths_of_which_none_is_a_file_are_all_told(tmp_path: Path) -> None:
    there, empty = tmp_path / "there.png", tmp_path / "empty.png"
    there.write_bytes(b"x")
    empty.touch()
    require_one([tmp_path / "gone.png", there])
    with pytest.raises(DataError) as error:
        require_one([tmp_path / "gone.png", empty, tmp_path])
    first, second, third = str(error.value).splitlines()
    assert "gone.png does not exist" in first
    assert "empty.png is empty" in second
    assert "is a folder" in third


@pytest.mark.parametrize("command", ["build", "generate"])
def test_a_wrong_path_is_told_before_torch_is_loaded(command: str, tmp_path: Path) -> None:
    code = f"""
import sys
from typer.testing import CliRunner
from avatarbench.cli import app
result = CliRunner().invoke(app, [{command!r}, "gone.png"])
assert "gone.png does not exist" in str(result.exception), result
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
