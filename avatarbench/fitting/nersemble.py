"""A person tracked by VHAP as the subject of a fit: the pictures and cameras of its export, and FLAME with teeth under
each; what GaussianAvatars is trained on."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.datasets.images import read_image
from avatarbench.errors import DataError
from avatarbench.fitting.recordings import Recordings
from avatarbench.fitting.sources import digest, of_cameras, sha256
from avatarbench.fitting.subject import Pictures, View, resized, sized
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import GaussianHead
from avatarbench.heads.decimate import Decimated, decimate
from avatarbench.heads.flame import load_flame
from avatarbench.heads.rig import rotation_matrix
from avatarbench.method import Camera, FlameParameters
from avatarbench.tracking.vhap import VhapExport

NAMED = re.compile(r"(\d{3,})_(.+?)(?:_(?:v|DS)\d.*)?")
"""How VHAP calls the export of a person's sequence: ``306_EMO-1_v16_DS4_whiteBg_staticOffset``. The sequence is as its
user gave it, by NeRSemble's name or the beginning of it, and ends where the tracker's version or scale begins."""

PLAIN = 250
"""Grey level above which what a mask leaves out is white already: VHAP exports pictures on white."""


@dataclass(frozen=True)
class Rates:
    """Adam's steps for what a tracker found, GaussianAvatars' by default: metres, radians, FLAME's coefficients."""

    translation: float = 1e-6
    pose: float = 1e-5
    expression: float = 1e-3


class VhapSubject:
    """The frames of a VHAP export, or of several combined: ``transforms.json``, or its division into ``train``, ``val``
    and ``test``, of which a fit sees the first alone.

    ``export``: the folder; ``root``: the data's, which may hold the exports that a combined one names, or, where the
    export comes without its pictures, a NeRSemble folder. Shape and offsets are those of the first time step for all
    (GaussianAvatars does the same). ``refine``: pose, translation and expression of every time step are parameters.
    Raises DataError naming the file and key, AssetError for FLAME that was not imported.
    """

    rig = "flame-teeth"

    def __init__(
        self,
        root: Path,
        person: str,
        export: Path,
        faces: int | None = None,
        size: int | None = None,
        refine: bool = False,
        device: torch.device | None = None,
        rates: Rates | None = None,
    ) -> None:
        self._device = device or torch.device("cpu")
        self._rates = rates or Rates()
        self._recordings = Recordings(root, person)
        self.views: list[View] = []
        self._cameras: list[Camera] = []
        self._frames: list[tuple[VhapExport, int]] = []
        self._times: list[int] = []
        tracked = self._read(root, person, export, size)
        self._rig = load_flame(teeth=True)
        self._small: Decimated | None = None if faces is None else decimate(self._rig, faces)
        self.faces = self._rig.faces if self._small is None else self._small.faces
        self._shape = torch.from_numpy(tracked[0].shape)
        self._offsets = _offsets(tracked[0], len(self._rig.template), export)
        self._tracked(tracked, refine)
        self._pictures = Pictures(self._picture, lambda view: (self._cameras[view].width, self._cameras[view].height))

    def __len__(self) -> int:
        return len(self.views)

    def image(self, view: int) -> Tensor:
        """(H, W, 3) float32 in [0, 1], over white by its mask."""
        return self._pictures[view]

    def camera(self, view: int) -> Camera:
        return self._cameras[view]

    def vertices(self, view: int) -> Tensor:
        """(V, 3) metres by the view's time step, as tracked or, where refined, as learned so far, with gradients."""
        time = slice(self._times[view], self._times[view] + 1)
        posed = self._moving(
            self._fixed[0], self.expression[time], rotation_matrix(self.pose[time]), self.translation[time],
            self._fixed[1],
        )  # fmt: skip
        return posed.vertices[0] if self._carrier is None else self._carrier.vertices(posed.vertices[0])

    def motion(self, view: int) -> tuple[Tensor, Tensor, Tensor]:
        """Expression (100,), joints (5, 3) and translation (3,) of the view's time step, as tracked or learned."""
        time = self._times[view]
        found = (self.expression[time], self.pose[time], self.translation[time])
        expression, joints, translation = (part.detach().cpu() for part in found)
        return expression, joints, translation

    def keep(self, room: int) -> None:
        """Hold at most so many bytes of decoded pictures in memory."""
        self._pictures.keep(room)

    def rest(self) -> Tensor:
        with torch.no_grad():
            full = self._rig.rest(self._shape[None], torch.zeros(1, 0), self._offsets)[0][0]
        return full if self._small is None else self._small.vertices(full)

    def refinements(self) -> Sequence[tuple[Tensor, float]]:
        """Translation (T, 3), pose (T, 5, 3) and expression (T, 100) of all time steps, where they are refined."""
        if not self.expression.requires_grad:
            return []
        rates = self._rates
        return [
            (self.translation, rates.translation), (self.pose, rates.pose), (self.expression, rates.expression)
        ]  # fmt: skip

    def head(self, cloud: Cloud) -> GaussianHead:
        """The drivable head of a canonical cloud bound to :attr:`faces`."""
        return GaussianHead(cloud, self._rig, self._shape, self._small, self._offsets)

    def sources(self, views: Sequence[int]) -> Mapping[str, str]:
        """Of the views' pictures with their masks, of their cameras, and of their time steps' parameters and those of
        the first, whose shape is everybody's."""
        pictures: list[str] = []
        for view in views:
            export, index = self._frames[view]
            if has_picture(export, index):
                files = export.file(index, "file_path"), export.file(index, "fg_mask_path")
                pictures += ["none" if file is None else sha256(file) for file in files]
            else:
                pictures.append(self._recordings.digest(self.views[view], export.frames[index], export.path))
        times = {self._times[view]: self._frames[view] for view in (0, *views)}
        return {
            "pictures": digest(pictures),
            "cameras": of_cameras(self._cameras[view] for view in views),
            "tracking": digest([sha256(export.flame_file(index)) for _, (export, index) in sorted(times.items())]),
        }

    def _read(self, root: Path, person: str, folder: Path, size: int | None) -> list[FlameParameters]:
        """Fill the lists of views; the parameters of the time steps that they index."""
        tracked: list[FlameParameters] = []
        known: dict[Path, int] = {}
        for export, held in divisions(folder, root):
            for index, frame in enumerate(export.frames):
                file = export.flame_file(index)
                source = file.resolve().parent.parent.name
                named = NAMED.fullmatch(source)
                if named is not None and named[1] != person:
                    raise DataError(f"{folder} has no person '{person}': it tracks '{named[1]}' (in {source}).")
                if file not in known:
                    known[file] = len(tracked)
                    tracked.append(export.flame(index))
                step = frame.get("timestep_index")
                self.views.append(
                    View(
                        take=named[2] if named is not None else source,
                        step=step if isinstance(step, int) else known[file],
                        camera=str(frame.get("camera_id", frame.get("camera_index", "0"))),
                        held=held,
                    )
                )
                self._cameras.append(sized(export.camera(index), size))
                self._frames.append((export, index))
                self._times.append(known[file])
                if not has_picture(export, index):
                    self._recordings.find(self.views[-1], frame, export.path)
        return tracked

    def _tracked(self, tracked: Sequence[FlameParameters], refine: bool) -> None:
        def column(*names: str) -> Tensor:
            rows = [np.concatenate([getattr(flame, name) for name in names]) for flame in tracked]
            return torch.from_numpy(np.stack(rows)).to(self._device)

        self.translation, self.expression = column("translation"), column("expr")
        self.pose = column("rotation", "neck_pose", "jaw_pose", "eyes_pose").unflatten(1, (5, 3)).contiguous()
        for parameter in (self.translation, self.expression, self.pose):
            parameter.requires_grad_(refine)
        on_cpu = self._device.type == "cpu"
        self._moving = self._rig if on_cpu else copy.deepcopy(self._rig).to(self._device)
        self._carrier = None if self._small is None else Decimated(*(part.to(self._device) for part in self._small))
        offsets = None if self._offsets is None else self._offsets.to(self._device)
        self._fixed = self._shape[None].to(self._device), offsets

    def _picture(self, view: int) -> NDArray[np.uint8]:
        export, index = self._frames[view]
        if not has_picture(export, index):
            return self._recordings.read(self.views[view], export.frames[index], export.path)
        path = export.file(index, "file_path")
        assert path is not None  # has_picture says so
        image = read_image(path)[0]
        camera = export.camera(index)
        height, width = image.shape[:2]
        if abs(width * camera.height - height * camera.width) > max(width, height):
            raise DataError(
                f"{path} is {width} x {height}, and {export.path} has a camera of {camera.width} x {camera.height}: "
                "export it again."
            )
        mask = export.file(index, "fg_mask_path")
        return image if mask is None else _on_white(image, read_image(mask)[0])


def divisions(folder: Path, root: Path) -> list[tuple[VhapExport, bool]]:
    """The frames of an export, each list with whether the export itself keeps it from training."""
    within = root if folder.resolve().is_relative_to(root.resolve()) else folder
    names = [""]
    if (folder / "transforms_train.json").exists():
        names = ["train", *(name for name in ("val", "test") if (folder / f"transforms_{name}.json").exists())]
    found = [(VhapExport(folder, name, within), name in ("val", "test")) for name in names]
    first = found[0][0].frames[0].get("flame_param_path")
    if within.resolve() == folder.resolve() and isinstance(first, str) and first.startswith("../"):
        raise DataError(
            f"{folder} combines the exports beside it: give the folder above it as DATA, and --tracking {folder}."
        )
    return found


def has_picture(export: VhapExport, index: int) -> bool:
    """Whether the picture that a frame names is there."""
    name = export.frames[index].get("file_path")
    return isinstance(name, str) and (export.folder / name).is_file()


def _on_white(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``image`` over white by ``mask`` (H, W, 3); a picture on white already stays as it is."""
    alpha = resized(mask, image.shape[1], image.shape[0])[..., :1]
    outside = image[alpha[..., 0] == 0]
    if not outside.size or outside.mean() >= PLAIN:
        return image
    part = alpha.astype(np.float32) / 255
    return np.asarray(np.rint(image * part + 255 * (1 - part)), np.uint8)


def _offsets(flame: FlameParameters, vertices: int, where: Path) -> Tensor | None:
    """VHAP's static offset on the vertices of the rig; zero on teeth that it has none for."""
    offset = flame.static_offset
    if offset is None:
        return None
    if not vertices - 120 <= len(offset) <= vertices:
        raise DataError(
            f"{where}: 'static_offset' has {len(offset)} vertices; FLAME has {vertices - 120}, with teeth {vertices}."
        )
    return torch.nn.functional.pad(torch.from_numpy(offset), (0, 0, 0, vertices - len(offset)))
