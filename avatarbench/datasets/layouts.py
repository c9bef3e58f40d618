"""Generated heads in the layouts of the licensed sets, so that every command can be tried, and tested, without them.

The pictures are those of OpenHeads' test split, or of a folder of the same make; each root is marked, and a run on it
says ``data: openheads``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatarbench.dataset import frame_number_of
from avatarbench.datasets.images import write_png
from avatarbench.datasets.marks import write_mark
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.datasets.openheads import embedded_split
from avatarbench.errors import DataError, UsageError
from avatarbench.files import writing
from avatarbench.openheads.cameras import FRONTAL

MARK = "openheads"
FPS = 25.0
SOURCE, MOTION = "PORTRAIT", "FREE"
Picture = NDArray[np.uint8]


def write_vfhq(
    root: Path, people: Sequence[str] = (), frames: int | None = None, size: int | None = None, mattes: bool = False
) -> list[str]:
    """A clip a person: the portrait, then the frontal camera's frames. Returns the clips' names.

    ``people``: identities, all where empty; ``frames``: at most so many of a clip, the portrait included; ``size``:
    resampled to it; ``mattes``: foreground pictures as well, in the folder ``mattes`` beside ``root``. Raises
    UsageError for people that there are not, OSError where nothing can be written.
    """
    names = []
    for person, film in _films(people, frames, size):
        name = f"Clip+OpenHeads{person}+P0+C0+F0-{len(film) - 1}"
        for number, (image, mask) in enumerate(film):
            write_png(root / name / f"{number:08d}.png", image)
            if mattes:
                _write_grey(root.parent / "mattes" / name / f"{number:08d}.png", mask)
        names.append(name)
    write_mark(root, MARK)
    return names


def write_hdtf(
    root: Path, people: Sequence[str] = (), frames: int | None = None, size: int | None = None, mattes: bool = False
) -> list[str]:
    """A lossless video a person, with the frames and arguments of :func:`write_vfhq`. Returns the files' names."""
    names = []
    for person, film in _films(people, frames, size):
        name = f"RD_OpenHeads{person}_000.mp4"
        _write_video(root / name, [image for image, _ in film])
        if mattes:
            _write_video(root.parent / "mattes" / name, [mask[..., None] for _, mask in film])
        names.append(name)
    write_mark(root, MARK)
    return names


def write_nersemble(root: Path, people: Sequence[str] = (), layout: str = "v2") -> list[str]:
    """The split's portraits and motion with cameras and masks, as ``"v2"`` or the older ``"v1"``. Returns the people.

    v2 as the split has it, numbered frames in the place of videos; v1 as PNGs by time step. Raises UsageError for
    people or a layout that there are not, OSError where nothing can be written.
    """
    if layout not in ("v1", "v2"):
        raise UsageError(f"'{layout}' is no layout of NeRSemble's: v1 or v2.")
    split = embedded_split()
    data = NersembleDataset(split, subset=(f"*_{SOURCE}_*", f"*_{MOTION}_*"))
    chosen = _chosen(data, people)
    for sequence in data.sequences():
        person, take, camera = sequence.split("_")
        if person not in chosen:
            continue
        if layout == "v2":
            for kind in ("images", "masks"):
                here = Path(person) / "sequences" / take / kind / f"cam_{camera}"
                shutil.copytree(split / here, root / here, dirs_exist_ok=True)
            continue
        for index in range(data.length(sequence)):
            step = root / person / "sequences" / take / f"frame_{data.frame_number(sequence, index):05d}"
            write_png(step / "images-2x-73fps" / f"cam_{camera}.png", data.read(sequence, index))
            _write_grey(step / "alpha_map-73fps" / f"cam_{camera}.png", _mask(data, sequence, index))
    for person in chosen:
        where = Path(person) / ("calibration/camera_params.json" if layout == "v2" else "camera_params.json")
        with writing(root / where) as temporary:
            shutil.copyfile(split / person / "calibration" / "camera_params.json", temporary)
    write_mark(root, MARK)
    return chosen


def _films(
    people: Sequence[str], frames: int | None, size: int | None
) -> Iterator[tuple[str, list[tuple[Picture, Picture]]]]:
    """Person by person, pictures (H, W, 3) with masks (H, W) of 0 to 255."""
    if frames is not None and frames < 1:
        raise UsageError(f"a clip has at least its portrait: {frames} frames were asked for.")
    data = NersembleDataset(embedded_split(), subset=(f"*_{SOURCE}_{FRONTAL}", f"*_{MOTION}_{FRONTAL}"))
    for person in _chosen(data, people):
        names = [f"{person}_{take}_{FRONTAL}" for take in (SOURCE, MOTION)]
        steps = [(name, index) for name in names for index in range(data.length(name))]
        steps.sort(key=lambda step: (step[0] != names[0], frame_number_of(data, *step)))
        yield person, [(_sized(data.read(*s), size), _sized(_mask(data, *s), size)) for s in steps[:frames]]


def _chosen(data: NersembleDataset, people: Sequence[str]) -> list[str]:
    known = sorted({data.identity(name) for name in data.sequences()})
    if unknown := sorted(set(people) - set(known)):
        raise UsageError(f"the test split has no person {', '.join(unknown)}; it has {', '.join(known)}.")
    return [person for person in known if not people or person in people]


def _mask(data: NersembleDataset, sequence: str, index: int) -> Picture:
    mask = data.mask(sequence, index)
    if mask is None:
        raise DataError(f"'{sequence}' of {data.root} has no masks: install avatarbench again.")
    return np.rint(mask * 255).astype(np.uint8)


def _sized(picture: Picture, size: int | None) -> Picture:
    if size is None:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


def _write_grey(path: Path, mask: Picture) -> None:
    with writing(path) as temporary:
        Image.fromarray(mask).save(temporary, "PNG")


def _write_video(path: Path, frames: Sequence[Picture]) -> None:
    from avatarbench.openheads.encode import Encoder

    with writing(path) as temporary, Encoder(temporary, FPS) as encoder:
        for frame in frames:
            encoder.add(frame)
