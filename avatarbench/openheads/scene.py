"""What Mitsuba renders: meshes with colours at their vertices, hair, an environment, and a camera."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import UsageError
from avatarbench.method import Camera

Vectors = NDArray[np.floating[Any]]
Placed = Mapping[str, tuple[Vectors, Vectors]]
"""Positions and normals (N, 3) of meshes by name."""

BLOCK = 16
"""Pixels of a block, each with a sampler of its own; fixed, since Mitsuba would choose it by the number of threads."""


@dataclass(frozen=True)
class Mesh:
    """``faces`` (F, 3), ``colour`` (N, 3) linear RGB, ``roughness`` (N,); ``material``: more parameters of
    Mitsuba's ``principled``."""

    faces: NDArray[np.int64]
    colour: NDArray[np.float32]
    roughness: NDArray[np.float32]
    material: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Curves:
    """Cubic B-splines of one colour. ``points`` (N, P, 3) and ``radii`` (N, P) metres, ``colour`` (3,) linear RGB."""

    points: NDArray[np.float32]
    radii: NDArray[np.float32]
    colour: NDArray[np.float32]


def mitsuba() -> Any:
    """The module, in its variant for processors. Raises UsageError where it is not installed."""
    try:
        import mitsuba
    except ImportError as error:
        raise UsageError(
            "OpenHeads is rendered by Mitsuba 3, which is not installed: pip install 'avatarbench[data]'."
        ) from error
    if mitsuba.variant() != "scalar_rgb":
        mitsuba.set_variant("scalar_rgb")
    return mitsuba


class Scene:
    """A scene that is built once; positions are renewed a frame, colours and topology stay.

    ``environment``: (H, 2 H, 3) radiance; ``depth``: of the longest paths.
    """

    def __init__(
        self,
        meshes: Mapping[str, Mesh],
        placed: Placed,
        curves: Sequence[Curves],
        environment: NDArray[np.float32],
        depth: int = 5,
    ) -> None:
        self._mi = mi = mitsuba()
        shapes: dict[str, Any] = {name: self._mesh(name, mesh, *placed[name]) for name, mesh in meshes.items()}
        with tempfile.TemporaryDirectory() as folder:
            for k, group in enumerate(curves):
                shapes[f"curves{k}"] = self._curves(group, Path(folder) / f"{k}.txt")
        turned = mi.ScalarTransform4f().rotate([1, 0, 0], 90)  # Mitsuba's map has y up, ours z
        light = {"type": "envmap", "bitmap": mi.Bitmap(environment), "to_world": turned}
        integrator = {"type": "path", "max_depth": depth, "hide_emitters": True, "block_size": BLOCK}
        self._scene = mi.load_dict({"type": "scene", "integrator": integrator, "light": light, **shapes})
        self._parameters = mi.traverse(self._scene)

    def _mesh(self, name: str, mesh: Mesh, points: Vectors, normals: Vectors) -> Any:
        mi = self._mi
        material = {
            "type": "principled",
            "base_color": {"type": "mesh_attribute", "name": "vertex_color"},
            "roughness": {"type": "mesh_attribute", "name": "vertex_roughness"},
            **mesh.material,
        }
        properties = mi.Properties()
        properties["bsdf"] = mi.load_dict({"type": "twosided", "material": material})
        count = len(mesh.colour)
        shape = mi.Mesh(name, count, len(mesh.faces), has_vertex_normals=True, props=properties)
        shape.add_attribute("vertex_color", 3, mesh.colour.ravel())
        shape.add_attribute("vertex_roughness", 1, mesh.roughness)
        buffers = mi.traverse(shape)
        buffers["faces"] = mesh.faces.astype(np.uint32).ravel()
        buffers["vertex_positions"] = np.ascontiguousarray(points, np.float32).ravel()
        buffers["vertex_normals"] = np.ascontiguousarray(normals, np.float32).ravel()
        buffers.update()
        return shape

    def _curves(self, group: Curves, path: Path) -> Any:
        """Mitsuba reads curves from a file only; afterwards they move in memory."""
        rows = np.concatenate([group.points, group.radii[..., None]], -1)
        with path.open("w") as out:
            for strand in rows:
                out.write("".join(f"{x:.7f} {y:.7f} {z:.7f} {r:.7f}\n" for x, y, z, r in strand))
                out.write("\n")
        colour = {"type": "rgb", "value": [float(c) for c in group.colour]}
        material = {"type": "principled", "base_color": colour, "roughness": 0.42, "specular": 0.5, "sheen": 0.2}
        return self._mi.load_dict({"type": "bsplinecurve", "filename": str(path), "bsdf": material})

    def place(self, placed: Placed, curves: Sequence[Curves]) -> None:
        """Put the meshes and all the curves where they are in this frame."""
        for name, (points, normals) in placed.items():
            self._parameters[f"{name}.vertex_positions"] = np.ascontiguousarray(points, np.float32).ravel()
            self._parameters[f"{name}.vertex_normals"] = np.ascontiguousarray(normals, np.float32).ravel()
        for k, group in enumerate(curves):
            rows = np.concatenate([group.points, group.radii[..., None]], -1, dtype=np.float32)
            self._parameters[f"curves{k}.control_points"] = rows.ravel()
        self._parameters.update()

    def render(self, camera: Camera, scale: int, samples: int, seed: int) -> NDArray[np.float32]:
        """(H scale, W scale, 4) linear RGB, multiplied by the alpha that comes last; ``samples`` a small pixel."""
        return np.array(self._mi.render(self._scene, sensor=self._sensor(camera, scale, samples), seed=seed))

    def _sensor(self, camera: Camera, scale: int, samples: int) -> Any:
        mi = self._mi
        fx, fy = float(camera.K[0, 0]), float(camera.K[1, 1])
        if abs(fx / fy - 1) > 1e-3 or abs(float(camera.K[0, 1])) > 1e-3:
            raise UsageError(f"OpenHeads renders square pixels without skew; the camera has K = {camera.K.tolist()}.")
        # Mitsuba's camera looks along z with x to the left and y up; OpenCV's has x to the right and y down.
        to_world = np.linalg.inv(camera.world_to_camera) @ np.diag([-1.0, -1.0, 1.0, 1.0])
        width, height = camera.width, camera.height
        return mi.load_dict(
            {
                "type": "perspective",
                "fov": float(np.degrees(2 * np.arctan(width / (fx + fy)))),
                "fov_axis": "x",
                "principal_point_offset_x": 0.5 - float(camera.K[0, 2]) / width,
                "principal_point_offset_y": 0.5 - float(camera.K[1, 2]) / height,
                "near_clip": 0.01,
                "far_clip": 100.0,
                "to_world": mi.ScalarTransform4f(to_world),
                "film": {
                    "type": "hdrfilm",
                    "width": width * scale,
                    "height": height * scale,
                    "pixel_format": "rgba",
                    "component_format": "float32",
                    "rfilter": {"type": "box"},  # a wider one adds neighbours' blocks in the order that they finish in
                },
                "sampler": {"type": "independent", "sample_count": samples},
            }
        )
