"""Where MediaPipe's 478 landmarks lie on Anny's head: makes ``anny_landmarks.npz``, beside this file.

    python -m avatarbench.tracking.make_correspondence [--identities 12] [--size 320]

Bald heads of drawn identities, with painted eyes, lips and brows, are rendered from several sides. Each landmark that
is found is followed along its ray onto the mesh, and lands at the same place of the surface on the template. Of all its
landings the robust mean is taken, mirrored pairs are made symmetric, and the result is put on the surface. A landmark
that rarely lands, or lands far apart, is left out. Needs Mitsuba (the extra ``data``).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from avatarbench.files import writing
from avatarbench.heads.anny import AnnyRig, load_anny
from avatarbench.heads.surface import nearest
from avatarbench.method import Camera
from avatarbench.metrics.face import FaceLandmarker
from avatarbench.metrics.features import Frame, Missing
from avatarbench.tracking.identities import draw_shapes
from avatarbench.tracking.paint import painted_head

OUT = Path(__file__).with_name("anny_landmarks.npz")
VIEWS = ((0, 0), (-12, 8), (12, -8), (-30, 0), (30, 0), (0, 14), (0, -14))
STATES: tuple[dict[str, float], ...] = ({}, {"jawOpen": 0.25, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3})
IRIS = range(468, 478)
CENTRE = np.array([0.0, -0.03, 0.03])
RINGS = (1.0, 2.0, 3.0)
ENOUGH, APART = 0.3, 0.008  # the least share of pictures with a landing; the largest spread, metres
Array = NDArray[np.float64]


def orbit_camera(yaw: float, pitch: float, size: int, distance: float = 0.9, fov: float = 18.0) -> Camera:
    """A camera around the head, degrees: yaw to the subject's left, pitch upwards; it looks at the head's middle."""
    y, p = np.radians([yaw, pitch])
    place = CENTRE + distance * np.array([np.sin(y) * np.cos(p), -np.cos(y) * np.cos(p), np.sin(p)])
    forward = (CENTRE - place) / distance
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ place
    focal = size / 2 / np.tan(np.radians(fov) / 2)
    return Camera(np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]]), pose, size, size)


class Scene:
    """Renders heads of one topology, and casts rays onto the parts that landmarks may lie on."""

    def __init__(self, rig: AnnyRig, folder: Path) -> None:
        import mitsuba

        mitsuba.set_variant("scalar_rgb")
        self._mi: Any = mitsuba
        self.faces = rig.faces.numpy()
        texture, self.landable, self.eyes = painted_head(rig)
        self._texture = folder / "skin.png"
        Image.fromarray(texture).save(self._texture)
        self._uvs = rig.uvs.numpy()[rig.uv_faces.numpy()].reshape(-1, 2)

    def render(self, vertices: Array, camera: Camera, samples: int = 16) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 sRGB over grey."""
        mi, look = self._mi, self._mi.ScalarTransform4f().look_at
        pose = np.linalg.inv(camera.world_to_camera)
        key = (pose @ [0.35, -0.3, 0.0, 1.0])[:3]
        scene = mi.load_dict(
            {
                "type": "scene",
                "integrator": {"type": "path", "max_depth": 3},
                "sensor": {
                    "type": "perspective",
                    "fov": float(np.degrees(2 * np.arctan(camera.width / 2 / camera.K[0, 0]))),
                    "to_world": look(
                        origin=pose[:3, 3].tolist(), target=(pose[:3, 3] + pose[:3, 2]).tolist(), up=[0, 0, 1]
                    ),
                    "film": {"type": "hdrfilm", "width": camera.width, "height": camera.height},
                    "sampler": {"type": "multijitter", "sample_count": samples},
                },
                "fill": {"type": "constant", "radiance": {"type": "rgb", "value": 0.55}},
                "key": {
                    "type": "rectangle",
                    "to_world": look(origin=key.tolist(), target=CENTRE.tolist(), up=[0, 0, 1]).scale(0.25),
                    "emitter": {"type": "area", "radiance": {"type": "rgb", "value": 4.0}},
                },
                "head": self._mesh(vertices, np.arange(len(self.faces))),
            }
        )
        return np.asarray(mi.util.convert_to_bitmap(mi.render(scene)))[..., :3].copy()

    def land(self, vertices: Array, camera: Camera, pixels: Array, part: NDArray[np.bool_]) -> tuple[Any, Array]:
        """Where rays through ``pixels`` (N, 2) meet ``part`` (F,) from outside: faces (N,), -1 for none, and
        barycentrics (N, 3).

        A ray that meets nothing is moved by up to ``RINGS[-1]`` pixels, the shortest way first: landmarks of the lids
        often lie a pixel inside the eye's opening, those of the outline outside the head.
        """
        kept = np.flatnonzero(part)
        scene = self._mi.load_dict({"type": "scene", "part": self._mesh(vertices, kept)})
        a, b, c = (vertices[self.faces[:, k]] for k in range(3))
        normals = np.cross(b - a, c - a)
        pose, inverse = np.linalg.inv(camera.world_to_camera), np.linalg.inv(camera.K)
        start = pose[:3, 3].tolist()
        found, weights = np.full(len(pixels), -1), np.zeros((len(pixels), 3))
        offsets = [(r * np.cos(t), r * np.sin(t)) for r in RINGS for t in np.radians(np.arange(0, 360, 45))]
        for dx, dy in ((0.0, 0.0), *offsets):
            for n in np.flatnonzero(found < 0):
                ray = pose[:3, :3] @ inverse @ (pixels[n, 0] + dx, pixels[n, 1] + dy, 1.0)
                direction = (ray / np.linalg.norm(ray)).tolist()
                hit = scene.ray_intersect_preliminary(self._mi.Ray3f(start, direction))
                if hit.is_valid() and normals[kept[hit.prim_index]] @ ray < 0:
                    found[n] = kept[hit.prim_index]
                    weights[n] = 1 - hit.prim_uv.x - hit.prim_uv.y, hit.prim_uv.x, hit.prim_uv.y
        return found, weights

    def _mesh(self, vertices: Array, kept: NDArray[np.int64]) -> Any:
        mi, corners = self._mi, vertices[self.faces]
        normals = np.zeros_like(vertices)
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        for k in range(3):
            np.add.at(normals, self.faces[:, k], flat)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        bsdf = {
            "type": "twosided",
            "bsdf": {
                "type": "principled",
                "base_color": {"type": "bitmap", "filename": str(self._texture)},
                "roughness": 0.5,
            },
        }
        properties = mi.Properties()
        properties["bsdf"] = mi.load_dict(bsdf)
        mesh = mi.Mesh("head", 3 * len(kept), len(kept), properties, True, True)
        parameters = mi.traverse(mesh)
        parameters["vertex_positions"] = corners[kept].ravel().astype(np.float32)
        parameters["vertex_normals"] = normals[self.faces[kept]].ravel().astype(np.float32)
        uvs = self._uvs.reshape(-1, 3, 2)[kept].reshape(-1, 2)
        parameters["vertex_texcoords"] = np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1).ravel().astype(np.float32)
        parameters["faces"] = np.arange(3 * len(kept), dtype=np.uint32)
        parameters.update()
        return mesh


def landings(rig: AnnyRig, scene: Scene, identities: int, size: int) -> Array:
    """(pictures, 478, 3): where each landmark landed, as a point of the mean head's surface; NaN where it did not."""
    shapes = torch.from_numpy(draw_shapes(rig, identities, seed=7)).float()
    template = mean_head(rig)
    rows, landmarker = [], FaceLandmarker()
    iris = np.isin(np.arange(478), IRIS)
    for number, shape in enumerate(shapes):
        state = STATES[number % len(STATES)]
        expression = torch.tensor([[state.get(name, 0.0) for name in rig.expression_names]])
        vertices = rig.rest(shape[None], expression)[0][0].double().numpy()
        for yaw, pitch in VIEWS:
            camera = orbit_camera(yaw, pitch, size)
            seen = landmarker.extract([Frame(scene.render(vertices, camera))])[0]
            row = np.full((478, 3), np.nan)
            rows.append(row)
            if isinstance(seen, Missing):
                continue
            for mask, part in ((~iris, scene.landable), (iris, scene.eyes)):
                face, weights = scene.land(vertices, camera, seen["landmarks"][mask].astype(np.float64), part)
                points = np.einsum("nk,nkc->nc", weights, template[scene.faces[face]])
                row[mask] = np.where(face[:, None] >= 0, points, np.nan)
        print(f"identity {number + 1} of {identities}", flush=True)
    landmarker.close()
    return np.stack(rows)


def mean_head(rig: AnnyRig) -> Array:
    """(V, 3) vertices of the head with every phenotype at 0.5."""
    return rig.rest(rig.shape({}), torch.zeros(1, 52))[0][0].double().numpy()


def robust_mean(samples: Array) -> tuple[Array, Array, Array]:
    """Mean (N, 3) of (P, N, 3) over the samples within 2.5 robust deviations of the median, their spread (N,), and the
    share (N,) of samples that are there."""
    centre = np.nanmedian(samples, axis=0)
    away = np.linalg.norm(samples - centre, axis=2)
    deviation = 1.4826 * np.nanmedian(away, axis=0)
    inside = away <= 2.5 * deviation + 1e-6
    kept = np.where(inside[..., None], samples, np.nan)
    mean = np.nanmean(kept, axis=0)
    spread = np.sqrt(np.nanmean(((kept - mean) ** 2).sum(2), axis=0))
    return mean, spread, np.isfinite(samples[..., 0]).mean(axis=0)


def symmetric(points: Array) -> Array:
    """The points (N, 3) with every mutual mirror pair about x = 0 made each other's image."""
    mirrored = points * (-1, 1, 1)
    nearest = np.linalg.norm(mirrored[:, None] - points[None], axis=2).argmin(axis=1)
    mutual = nearest[nearest] == np.arange(len(points))
    return np.where(mutual[:, None], (points + mirrored[nearest]) / 2, points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--identities", type=int, default=12)
    parser.add_argument("--size", type=int, default=320)
    given = parser.parse_args()
    rig = load_anny()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(rig, Path(folder))
        samples = landings(rig, scene, given.identities, given.size)
    mean, spread, share = robust_mean(samples)
    reliable = (share >= ENOUGH) & (spread <= APART)
    mean[reliable] = symmetric(mean[reliable])
    template, index = mean_head(rig), np.flatnonzero(reliable)
    face, weights = np.full(478, -1), np.zeros((478, 3))
    for mask, part in ((index < 468, scene.landable), (index >= 468, scene.eyes)):
        among = np.flatnonzero(part)
        found, onto = nearest(*map(torch.from_numpy, (mean[index[mask]], template, scene.faces[among])))
        face[index[mask]], weights[index[mask]] = among[found.numpy()], onto.numpy()
    with writing(OUT) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            landmarks=index.astype(np.int16),
            faces=face[index].astype(np.int16),
            barycentrics=np.round(weights[index], 4).astype(np.float32),
            spread=np.round(spread[index], 5).astype(np.float32),
        )
    print(f"{len(index)} of 478 landmarks, median spread {1000 * np.median(spread[index]):.1f} mm: {OUT}")


if __name__ == "__main__":
    main()
