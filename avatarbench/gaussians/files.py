"""Clouds on disk: PLY in the layout that splat viewers and trainers share, and a compact .npz that loses nothing."""

from __future__ import annotations

import io
from contextlib import nullcontext
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement, PlyParseError

from avatarbench import npz
from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.harmonics import CONSTANT, count_of, degree_of

RGB = "avatarbench colours: rgb"
OPACITY_LEAST = 1e-6
"""The layout stores logits: an opacity of 0 or 1 comes back as this much off it."""

_LINE = 1000
_WIDTHS = {"short": 2, "ushort": 2, "int16": 2, "uint16": 2, "int": 4, "uint": 4, "int32": 4, "uint32": 4}
_WIDTHS |= {"float": 4, "float32": 4, "double": 8, "float64": 8}
_BASE = ("x", "y", "z", "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)))


def write_ply(cloud: Cloud, path: Path) -> None:
    """:func:`ply_bytes` as a file. Raises DataError for a cloud that cannot be rendered, OSError."""
    content = ply_bytes(cloud)
    with writing(path) as temporary:
        temporary.write_bytes(content)


def ply_bytes(cloud: Cloud) -> bytes:
    """Binary PLY as Kerbl et al.'s code writes it: positions, zero normals, harmonics, logit opacity, log scales, w x
    y z.

    Harmonics stand channel by channel. Bindings go into an extra ``int`` property that viewers skip. Raises DataError
    for a cloud that cannot be rendered.
    """
    cloud = cloud.detach().to("cpu").check()
    harmonic = cloud.colours if cloud.degree is not None else ((cloud.colours - 0.5) / CONSTANT)[:, None]
    rest = harmonic[:, 1:].transpose(1, 2).flatten(1)
    opacity = cloud.opacities.clamp(OPACITY_LEAST, 1 - OPACITY_LEAST)
    columns = {
        **_named(("x", "y", "z"), cloud.means),
        **_named(("nx", "ny", "nz"), torch.zeros_like(cloud.means)),
        **_named([f"f_dc_{i}" for i in range(3)], harmonic[:, 0]),
        **_named([f"f_rest_{i}" for i in range(rest.shape[1])], rest),
        "opacity": torch.logit(opacity),
        **_named([f"scale_{i}" for i in range(3)], cloud.scales.log()),
        **_named([f"rot_{i}" for i in range(4)], torch.nn.functional.normalize(cloud.quaternions, dim=-1)),
    }
    kinds: list[tuple[str, str]] = [(name, "<f4") for name in columns]
    if cloud.bindings is not None:
        columns["binding"] = cloud.bindings
        kinds.append(("binding", "<i4"))
    table = np.empty(len(cloud), dtype=kinds)
    for name, column in columns.items():
        table[name] = column.numpy()
    comments = [RGB] if cloud.degree is None else []
    stream = io.BytesIO()
    PlyData([PlyElement.describe(table, "vertex")], byte_order="<", comments=comments).write(stream)
    return stream.getvalue()


def read_ply(source: Path | IO[bytes], name: str | None = None) -> Cloud:
    """A cloud from a PLY of that layout, ours or another program's; float32. ``name``: for messages, where not the
    path.

    Raises DataError naming the file and what is wrong: no PLY, cut short, a property missing or no number, values that
    cannot be rendered.
    """
    path = name or str(source)
    try:
        with source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream:
            names = _announced(stream, path)
            missing = [name for name in (*_BASE, *(f"f_dc_{i}" for i in range(3))) if name not in names]
            if missing:
                raise DataError(f"{path} is a PLY, but not of Gaussians: it has no {', '.join(missing)}.")
            data = PlyData.read(stream, mmap=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: check the path.") from error
    except (PlyParseError, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path} cannot be read as a PLY: {error}.") from error
    table = data["vertex"].data
    rest = sum(name.startswith("f_rest_") for name in names)
    try:
        degree_of(1 + rest // 3)
        harmonic = np.stack([table[f"f_dc_{i}"] for i in range(3)], 1)[:, None].astype(np.float32)
        if rest:
            tail = np.stack([table[f"f_rest_{i}"] for i in range(rest)], 1).astype(np.float32)
            harmonic = np.concatenate([harmonic, tail.reshape(len(table), 3, rest // 3).transpose(0, 2, 1)], 1)
    except ValueError as error:
        raise DataError(f"{path} has {rest} f_rest properties; a degree has {_rest_counts()}.") from error
    colours = torch.from_numpy(harmonic)
    if RGB in data.comments and not rest:
        colours = colours[:, 0] * CONSTANT + 0.5
    cloud = Cloud(
        means=_columns(table, ("x", "y", "z")),
        quaternions=_columns(table, [f"rot_{i}" for i in range(4)]),
        scales=_columns(table, [f"scale_{i}" for i in range(3)]).exp(),
        opacities=torch.sigmoid(_columns(table, ("opacity",))[:, 0]),
        colours=colours,
        bindings=_bindings(table, path) if "binding" in names else None,
    )
    return _checked(cloud, path)


def _announced(stream: IO[bytes], path: str) -> set[str]:
    """The properties of a PLY's vertices by its header; the stream is left at its beginning.

    Raises DataError for what reading would stumble over or reserve memory for: no PLY, no vertices, vertices with
    lists, fewer bytes than the header announces.
    """
    if stream.readline(_LINE).strip() != b"ply":
        raise DataError(f"{path} cannot be read as a PLY: it does not begin as one.")
    counts: dict[str, int] = {}
    widths: dict[str, list[int]] = {}  # least bytes of each property in a row
    names, element, text = set[str](), "", False
    for line in iter(lambda: stream.readline(_LINE), b"end_header\n"):
        match line.decode("latin-1").split():
            case ["format", kind, *_]:
                text = kind == "ascii"
            case ["element", element, number] if number.isdecimal():
                counts[element], widths[element] = int(number), []
            case ["element", *_]:
                raise DataError(f"{path} cannot be read as a PLY: its header gives an element no number.")
            case ["property", "list", *_] if element == "vertex":
                raise DataError(f"{path} is a PLY, but not of Gaussians: its vertices have lists.")
            case ["property", kind, *_, name] if element:
                widths[element].append(1 if text else _WIDTHS.get(kind, 1))
                names |= {name} if element == "vertex" else set()
            case ["end_header"] | []:
                break
    if "vertex" not in counts:
        raise DataError(f"{path} is a PLY without vertices: it holds no Gaussians.")
    begin, end = stream.tell(), stream.seek(0, io.SEEK_END)
    stream.seek(0)
    least = sum(count * max(1, sum(widths[name])) for name, count in counts.items())
    if least > end - begin:
        raise DataError(
            f"{path} cannot be read as a PLY: its header announces {least} bytes or more, and {end - begin} follow. "
            "It was cut short."
        )
    return names


def write_npz(cloud: Cloud, path: Path) -> None:
    """The cloud's own arrays, compressed, in float32. Raises DataError for one that cannot be rendered, OSError."""
    cloud = cloud.check().detach().to("cpu", torch.float32).check()
    arrays = {name: value.numpy() for name, value in vars(cloud).items() if value is not None}
    with writing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_npz(path: Path) -> Cloud:
    """What :func:`write_npz` wrote. Raises DataError naming the file and what is wrong."""
    arrays = npz.read_npz(path, "write it again")
    try:
        cloud = Cloud(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    except (ValueError, TypeError) as error:  # another file's names, or arrays of no numbers
        raise DataError(f"{path} cannot be read as a cloud: {error}.") from error
    return _checked(cloud, path)


def _checked(cloud: Cloud, path: Path | str) -> Cloud:
    try:
        return cloud.check()
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _named(names: tuple[str, ...] | list[str], values: torch.Tensor) -> dict[str, torch.Tensor]:
    return dict(zip(names, values.unbind(1), strict=True))


def _columns(table: NDArray[np.void], names: tuple[str, ...] | list[str]) -> torch.Tensor:
    return torch.from_numpy(np.stack([table[name] for name in names], 1).astype(np.float32))


def _bindings(table: NDArray[np.void], path: str) -> torch.Tensor:
    if table["binding"].dtype.kind not in "iu":
        raise DataError(f"{path} has bindings of {table['binding'].dtype}; face indices are whole numbers.")
    return torch.from_numpy(table["binding"].astype(np.int64))


def _rest_counts() -> str:
    return ", ".join(str(3 * (count_of(degree) - 1)) for degree in range(4))
