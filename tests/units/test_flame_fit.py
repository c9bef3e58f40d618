"""FLAME to another FLAME through the mesh: known codes come back, in another basis, with a camera of another lens.

Both models are our rig's (:class:`avatarbench.heads.rig.Rig`), which the fit does not know.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from avatarbench.heads.flame import JOINTS
from avatarbench.heads.flame_file import PARENTS
from avatarbench.heads.rig import Rig, RigArrays
from avatarbench.isolation.method import plain
from avatarbench.isolation.official import TOOLS
from avatarbench.method import FlameParameters
from avatarbench.methods.flame_driven import head_mesh
from tests.synthetic_flame import flame_arrays

SHAPES, EXPRESSIONS, VERTICES = 30, 12, 700
SIZE, FOCAL, SCALE = 512, 12.0, 5.0
OURS = flame_arrays(VERTICES, 1200)


@pytest.fixture(scope="module")
def fit() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS[0].parent))
        yield importlib.import_module("flame_fit")


def make(shapes: np.ndarray, expressions: np.ndarray, template: np.ndarray | None = None) -> Rig:
    """A rig of the synthetic FLAME's joints and weights in other bases; double precision."""
    template = OURS["v_template"] if template is None else template
    regressor = OURS["J_regressor"].toarray()
    directions = np.concatenate([shapes, expressions], 2)
    arrays = RigArrays(
        template=template,
        faces=OURS["f"].astype(np.int64),
        uvs=np.zeros((0, 2)),
        uv_faces=np.zeros((0, 3), np.int64),
        shape_directions=shapes,
        expression_directions=expressions,
        joints=regressor @ template,
        joint_directions=np.einsum("jv,vcd->jcd", regressor, directions),
        skinning=OURS["weights"],
        pose_directions=OURS["posedirs"],
    )
    names = [[f"{what}{i}" for i in range(n)] for what, n in (("s", shapes.shape[2]), ("e", expressions.shape[2]))]
    found = Rig("small", arrays, PARENTS, JOINTS, *names)
    found.register_buffer("regressor", torch.from_numpy(regressor))
    return found.double()


def bases() -> tuple[np.ndarray, np.ndarray]:
    return OURS["shapedirs"][..., :SHAPES], OURS["shapedirs"][..., 300 : 300 + EXPRESSIONS]


def mixed(directions: np.ndarray, seed: int) -> np.ndarray:
    """The same span in another basis, some of whose directions are four times as long as others."""
    draw, count = np.random.default_rng(seed), directions.shape[2]
    turn = np.linalg.qr(draw.normal(size=(count, count)))[0]
    return np.asarray(directions @ turn * draw.uniform(0.5, 2, count))


def posed(rig: Rig, codes: Any) -> np.ndarray:
    """What their code makes of codes: vertices in their scale."""
    turns = {"jaw": codes.jaw, "eye.L": codes.eyes[:3], "eye.R": codes.eyes[3:]}
    one = [torch.from_numpy(np.asarray(v))[None] for v in (codes.shape, codes.expression)]
    return np.asarray(rig(*one, rig.rotations(turns)).vertices[0].numpy() * SCALE)


def converter(fit: Any, rig: Rig, **changes: Any) -> Any:
    """A converter to ``rig``, from the buffers that a module of theirs would have."""
    tensors = {
        "v_template": rig.template,
        "shapedirs": torch.cat([rig.shape_directions, rig.expression_directions], 2),
        "posedirs": rig.pose_directions.reshape(-1, 36).T,
        "J_regressor": rig.regressor,
        "lbs_weights": rig.skinning,
    }
    flame = fit.Flame.of(SimpleNamespace(**tensors), rig.shape_directions.shape[2])
    settings: dict[str, Any] = {"scale": SCALE, "focal": FOCAL, "size": SIZE, "limit_mm": 3.0, "limit_px": 8.0}
    return fit.Converter(flame, lambda codes: posed(rig, codes), **{**settings, **changes})


def tracked(index: int = 0, **changes: Any) -> FlameParameters:
    draw = np.random.default_rng(index + 7)
    shape = 0.8 * np.random.default_rng(1).normal(size=SHAPES)
    found = {
        "shape": shape,
        "expr": draw.normal(size=EXPRESSIONS),
        "rotation": np.array([0.1, 0.3 * index - 0.2, 0.05]),
        "neck_pose": np.zeros(3),
        "jaw_pose": np.array([0.3 + 0.1 * index, 0.05, -0.02]),
        "eyes_pose": draw.normal(0, 0.2, 6),
        "translation": np.array([0.02, -0.03, 0.01]),
    }
    return FlameParameters(**{k: np.asarray(v, np.float32) for k, v in {**found, **changes}.items()})


def camera(focal: float = FOCAL * SIZE / 2, distance: float = 2.8, middle: float = SIZE / 2) -> dict[str, Any]:
    """In front of a head at the origin that looks along z."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = 0.01 - (middle - SIZE / 2) / focal * distance, -0.02, distance
    K = np.array([[focal, 0, middle], [0, focal, SIZE / 2 + 3], [0, 0, 1]])
    return {"K": K, "world_to_camera": pose, "width": SIZE, "height": SIZE}


def frame(rig: Rig, flame: FlameParameters, seen: dict[str, Any] | None = None) -> dict[str, Any]:
    single = {name: None if v is None else np.asarray(v, np.float32) for name, v in vars(flame).items()}
    mesh = head_mesh(_Single(rig), FlameParameters(**single), {})  # type: ignore[arg-type]
    return {"mesh": plain(mesh), "camera": seen or camera()}


class _Single:
    """The rig, given single precision as the tracking has it."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self.template, self.skinning = rig, rig.template, rig.skinning

    def __call__(self, shape: Any, expression: Any, turned: Any, shift: Any = None, offsets: Any = None) -> Any:
        wide = [None if v is None else v.double() for v in (shift, offsets)]
        return self._rig(shape.double(), expression.double(), turned, *wide)

    def rotations(self, turns: Any = None) -> Any:
        return self._rig.rotations(turns)


def projected(codes: Any, vertices: np.ndarray) -> np.ndarray:
    """Pixels (V, 2) as PyTorch3D's cameras have them: rows, x left, y up, focal length in halves of the picture."""
    seen = vertices @ codes.transform[:, :3] + codes.transform[:, 3]
    return np.asarray(SIZE / 2 - SIZE / 2 * FOCAL * seen[:, :2] / seen[:, 2:])


def expected(one: dict[str, Any]) -> np.ndarray:
    """Pixels of what was tracked, by our contract's camera."""
    pose = one["camera"]["world_to_camera"] @ one["mesh"]["head_to_world"]
    seen = (one["mesh"]["vertices"] @ pose[:3, :3].T + pose[:3, 3]) @ one["camera"]["K"].T
    return np.asarray(seen[:, :2] / seen[:, 2:])


def test_known_codes_come_back_in_another_basis(fit: Any) -> None:
    shapes, expressions = bases()
    ours, theirs = make(shapes, expressions), make(mixed(shapes, 3), mixed(expressions, 4))
    convert = converter(fit, theirs)
    for index in range(3):
        flame = tracked(index)
        one = frame(ours, flame)
        codes = convert.convert(one)
        vertices = posed(theirs, codes)
        assert np.linalg.norm(vertices / SCALE - one["mesh"]["vertices"], axis=1).max() < 1e-4  # 0.1 mm
        assert np.abs(projected(codes, vertices) - expected(one)).max() < 0.5
        np.testing.assert_allclose(codes.jaw, flame.jaw_pose, atol=2e-3)
        np.testing.assert_allclose(codes.eyes, flame.eyes_pose, atol=2e-3)
        assert max(codes.identity_mm, codes.motion_mm) < 0.05
        assert codes.pixels < 0.1
    same = converter(fit, ours).convert(frame(ours, tracked()))
    np.testing.assert_allclose(same.shape, tracked().shape, atol=0.02)
    np.testing.assert_allclose(same.expression, tracked().expr, atol=0.02)
