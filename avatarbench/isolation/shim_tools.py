"""What the shims of official methods share. Copied beside a shim into the method's own environment.

Python 3.8, numpy and the standard library; Pillow, OpenCV, PyAV or ffmpeg only inside the functions that need one of
them. Imports nothing of avatarbench. ``motion`` and ``portrait`` are dicts with the names of the fields of
``avatarbench.method.Motion`` and ``Portrait``: ``image`` (H, W, 3) uint8, ``flame`` and ``camera`` dicts.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
import select
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LOG_BYTES = 16 << 20
"""A command's log is cut after so many bytes; its last lines are kept in any case."""
TAIL_BYTES = 6000
TAIL_LINES = 25
SAY_SECONDS = 5.0


class ShimError(RuntimeError):
    """What went wrong in a shim, with what to look at. Costs the frame, or the portrait, that it happened to."""


# Commands


@dataclass
class CommandResult:
    """How a command ended. ``before``: what lay in the watched folders when it started, for :func:`harvest`."""

    argv: list[str]
    code: int
    seconds: float
    log: str
    tail: str
    before: dict[str, tuple[int, int, int]] = field(default_factory=dict, repr=False)

    def ended(self) -> str:
        """How it ended and its last lines, for an error."""
        how = f"exit code {self.code}" if self.code >= 0 else f"signal {-self.code}"
        said = "\n".join("  " + line for line in self.tail.splitlines()) or "  (it said nothing)"
        what = " ".join(self.argv[:4])
        return f"{what} ended with {how} after {self.seconds:.0f} s; the last lines of {self.log}:\n{said}"


def run(
    argv: Sequence[str],
    cwd: str,
    log: str,
    timeout: float,
    say: Callable[[str], None] | None = None,
    watch: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> CommandResult:
    """Run a command to its end, its output into ``log``. ``argv[0] == "python"`` is this environment's interpreter.

    The exit code is returned and not judged: what came out is, by :func:`harvest`. ``watch``: folders that it writes
    into. ``say`` is told its last line now and then. Raises ShimError where it cannot be started or takes longer than
    ``timeout`` seconds.
    """
    if isinstance(argv, (str, bytes)):
        raise ShimError(f"a command is a list of arguments, not {argv!r}")
    command = [os.fspath(word) for word in argv]
    if command[0] == "python":
        command[0] = sys.executable
    before = stamps(watch)
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(os.environ, **(environment or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise ShimError(f"cannot start {command[0]} in {cwd}: {error}") from error
    tail = _follow(process, log, started + timeout, say)
    seconds = time.monotonic() - started
    result = CommandResult(command, process.returncode or 0, seconds, log, tail, before)
    if process.returncode is None:
        process.kill()
        result.code = process.wait()
        raise ShimError(f"{command[0]} was stopped: it took more than {timeout:.0f} s.\n{result.ended()}")
    return result


def _follow(process: subprocess.Popen, log: str, deadline: float, say: Callable[[str], None] | None) -> str:
    """Copy the output until the process ends or the deadline passes; its last lines. A grandchild that keeps the pipe
    open is not waited for."""
    tail, written, told = b"", 0, time.monotonic()
    descriptor = process.stdout.fileno()  # type: ignore[union-attr]
    with open(log, "ab") as file:
        while time.monotonic() < deadline:
            over = process.poll() is not None
            ready = select.select([descriptor], [], [], 0.0 if over else 0.2)[0]
            chunk = os.read(descriptor, 1 << 16) if ready else b""
            if chunk:
                file.write(chunk[: max(0, LOG_BYTES - written)])
                written += len(chunk)
                tail = (tail + chunk)[-TAIL_BYTES:]
            elif over:
                break
            elif ready:  # it closed its output and runs on
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(0.5, max(0.0, deadline - time.monotonic())))
            if say is not None and time.monotonic() - told > SAY_SECONDS:
                told = time.monotonic()
                say((_lines(tail) or ["..."])[-1][:200])
        if written > LOG_BYTES:
            file.write(b"\n... cut; the end:\n" + tail)
    process.stdout.close()  # type: ignore[union-attr]
    return "\n".join(_lines(tail)[-TAIL_LINES:])


def _lines(text: bytes) -> list[str]:
    return [line for line in re.split(r"[\r\n]+", text.decode("utf-8", "replace")) if line.strip()]


@contextlib.contextmanager
def locked(path: str, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """One process at a time holds the lock file ``path``, for code that shares a temporary folder. It is there while
    it is held."""
    import fcntl

    while True:
        with open(path, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if say is not None:
                    say(f"waiting for another process that holds {path}")
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                if not os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    continue
            except FileNotFoundError:  # its holder removed it while we waited, and somebody may hold a new one
                continue
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            return


def workspace(repository: str, folder: str, own: Sequence[str] = (), links: Mapping[str, str] | None = None) -> str:
    """``folder`` as a repository to work in: everything of ``repository`` as links, which may be read-only.

    What the code writes at the top lands in ``folder``, not in the user's checkout. ``own``: paths inside it that are
    folders of the job's own, empty, whatever the checkout has there (outputs, caches by name). ``links``: path inside
    it -> the user's file or folder that the code looks for there (weights). Returns ``folder``.
    """
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(repository):
        if not os.path.lexists(os.path.join(folder, name)):
            os.symlink(os.path.join(os.path.abspath(repository), name), os.path.join(folder, name))
    placed: dict[str, str | None] = dict.fromkeys(own)
    placed.update(links or {})
    for path, target in placed.items():
        parts = [part for part in path.split("/") if part]
        if not parts or os.path.isabs(path) or ".." in parts:
            raise ShimError(f"{path!r} is no path inside a workspace")
        parent = folder
        for part in parts[:-1]:
            parent = os.path.join(parent, part)
            _open_up(parent)
        place = os.path.join(parent, parts[-1])
        if os.path.islink(place):
            os.unlink(place)
        if target is None:
            os.makedirs(place, exist_ok=True)
        else:
            os.symlink(os.path.abspath(target), place)
    return folder


def _open_up(place: str) -> None:
    """A link to a folder becomes a folder of links to what is in it."""
    if os.path.islink(place):
        target = os.path.realpath(place)
        os.unlink(place)
        os.mkdir(place)
        for name in os.listdir(target):
            os.symlink(os.path.join(target, name), os.path.join(place, name))
    os.makedirs(place, exist_ok=True)


def enter(folder: str) -> None:
    """Work as a script in ``folder`` does: it is the working directory and what is imported from first."""
    os.chdir(folder)
    sys.path.insert(0, os.path.abspath(folder))


# Names and pictures in


def unique_names(count: int) -> list[str]:
    """``count`` names that no earlier job used, in order: code that caches by a file's name finds nothing old."""
    token = secrets.token_hex(6)
    return [f"j{token}_{index:06d}" for index in range(count)]


def write_image(path: str, image: np.ndarray) -> str:
    """(H, W, 3) uint8 sRGB, or floating point in [0, 1], losslessly as PNG; needs no package."""
    if not path.lower().endswith(".png"):
        raise ShimError(f"{path}: pictures are written as .png, losslessly")
    picture = _uint8(image)
    height, width = picture.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, width * 3)], axis=1)
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 3)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    return path


def _uint8(image: np.ndarray) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3:
        raise ShimError(f"a picture has shape {image.shape!r}, where (H, W, 3) is expected")
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if not np.issubdtype(image.dtype, np.floating):
        raise ShimError(f"a picture has dtype {image.dtype}, neither uint8 nor floating point in [0, 1]")
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def write_frames(folder: str, motions: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> list[str]:
    """The drivers' pictures as ``folder/NAME.png`` in their order; names that no earlier job used by default."""
    chosen = unique_names(len(motions)) if names is None else list(names)
    if len(chosen) != len(motions) or len(set(chosen)) != len(chosen):
        raise ShimError(f"{len(chosen)} names, {len(set(chosen))} of them different, for {len(motions)} frames")
    pairs = zip(chosen, motions)  # noqa: B905  (Python 3.8)
    return [write_image(os.path.join(folder, name + ".png"), motion["image"]) for name, motion in pairs]


# Pictures out


def stamps(folders: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Every file below ``folders`` with its time, size and inode: a file that has the same afterwards is stale."""
    found = {}
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(root, name)
                with contextlib.suppress(OSError):  # removed meanwhile, or a link to nothing
                    about = os.stat(path)
                    found[os.path.realpath(path)] = (about.st_mtime_ns, about.st_size, about.st_ino)
    return found


def harvest(
    folder: str,
    pattern: str,
    expected: int,
    done: CommandResult | None = None,
    size: tuple[int, int] | None = None,
) -> list[str]:
    """The pictures that a job made: ``expected`` files of ``pattern`` in ``folder``, by number (``f2`` before ``f10``).

    ``size``: (width, height) of each. Raises ShimError that says which are missing or too many, empty, cut short,
    damaged, of another size, outside of ``folder``, or there since before the command of ``done``, and how that ended.
    """
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), pattern), recursive=True), key=_by_number)
    faults = []
    home = os.path.realpath(folder) + os.sep
    for path in paths:
        real = os.path.realpath(path)
        about = os.stat(path) if os.path.exists(path) else None
        if about is None or not real.startswith(home):
            faults.append(f"{path} lies outside of the folder")
        elif done and done.before.get(real) == (about.st_mtime_ns, about.st_size, about.st_ino):
            faults.append(f"{path} was there before the job: stale")
        else:
            fault = _fault(path, size)
            faults += [f"{path} {fault}"] if fault else []
    if len(paths) != expected:
        few = "too few" if len(paths) < expected else "too many"
        faults.insert(0, f"{few} frames: {len(paths)} of {pattern} in {folder}, {expected} expected")
    if faults:
        shown = faults[:4] + ([f"{len(faults) - 4} more faults"] if len(faults) > 4 else [])
        raise ShimError("; ".join(shown) + (".\n" + done.ended() if done else ""))
    return paths


def _by_number(path: str) -> list[Any]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path)]


def _fault(path: str, size: tuple[int, int] | None) -> str | None:
    """What is wrong with a PNG or JPEG file, without a package; any other kind is only looked at for emptiness."""
    with open(path, "rb") as file:
        data = file.read()
    if not data:
        return "is empty"
    found = None
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        at, kind = 8, b""
        while kind != b"IEND":
            if at + 12 > len(data):
                return "is cut short"
            length, kind = struct.unpack(">I4s", data[at : at + 8])
            body = data[at + 8 : at + 8 + length]
            if at + 12 + length > len(data):
                return "is cut short"
            if struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] != zlib.crc32(kind + body):
                return "is damaged"
            if kind == b"IHDR":
                found = struct.unpack(">2I", body[:8])
            at += 12 + length
    elif data[:2] == b"\xff\xd8":
        if data.rstrip(b"\0")[-2:] != b"\xff\xd9":
            return "is cut short"
        found = _jpeg_size(data)
    elif path.lower().endswith((".png", ".jpg", ".jpeg")):
        return "is no picture"
    if size is not None and found is not None and tuple(found) != tuple(size):
        return f"is of {found[0]}x{found[1]}, where {size[0]}x{size[1]} is expected"
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        if 0xC0 <= data[at + 1] <= 0xCF and data[at + 1] not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">2H", data[at + 5 : at + 9])
            return width, height
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


def read_image(path: str) -> np.ndarray:
    """A picture as (H, W, 3) uint8 sRGB, by Pillow or OpenCV. Raises ShimError."""
    if _module("PIL") is not None:
        from PIL import Image

        try:
            with Image.open(path) as image:
                return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:  # Pillow's own for a file that is cut or no picture
            raise ShimError(f"{path} cannot be read: {error}") from error
    cv2 = _module("cv2")
    if cv2 is None:
        raise ShimError(f"neither Pillow nor OpenCV is in this environment to read {path}: add pillow to its recipe")
    found = cv2.imread(path, cv2.IMREAD_COLOR)
    if found is None:
        raise ShimError(f"{path} cannot be read by OpenCV")
    return np.ascontiguousarray(found[:, :, ::-1])


def split_strip(image: np.ndarray, n: int, axis: int, index: int) -> np.ndarray:
    """Tile ``index`` of ``n`` equal ones along ``axis`` (0: one below the other, 1: side by side) of (H, W, 3).

    A grid is split twice. Raises ShimError where the side is no multiple of ``n``.
    """
    side = image.shape[axis]
    if side % n or not 0 <= index < n:
        raise ShimError(f"a picture of {image.shape[1]}x{image.shape[0]} has no tile {index} of {n} along axis {axis}")
    step = side // n
    return np.ascontiguousarray(np.take(image, range(index * step, (index + 1) * step), axis=axis))


def _module(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        return None
