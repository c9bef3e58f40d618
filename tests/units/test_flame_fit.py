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
from scipy.spatial.transform import Rotation

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


def test_what_no_basis_reaches_is_what_is_left(fit: Any) -> None:
    shapes, expressions = bases()
    beyond = 0.7 * OURS["shapedirs"][..., 350]  # in neither basis
    flame = tracked(expr=np.append(np.random.default_rng(3).normal(size=EXPRESSIONS), 0.0))
    ours = make(shapes, np.concatenate([expressions, beyond[..., None]], 2))
    convert = converter(fit, make(mixed(shapes, 3), mixed(expressions, 4)))
    within = convert.convert(frame(ours, flame))
    flame.expr[-1] = 1.0
    codes = convert.convert(one := frame(ours, flame))
    assert within.motion_mm < 0.01
    assert codes.motion_mm == pytest.approx(1000 * np.linalg.norm(beyond, axis=1).mean(), rel=0.1)
    assert codes.identity_mm < 0.01
    off = np.linalg.norm(
        projected(codes, posed(make(mixed(shapes, 3), mixed(expressions, 4)), codes)) - expected(one), axis=1
    )
    assert codes.pixels == pytest.approx(np.average(off, weights=1 - OURS["weights"][:, 0]), rel=0.02)
    for limits, said in (({"limit_mm": 1.0}, "at most 1 mm and 8 px"), ({"limit_px": 0.5}, "at most 3 mm and 0.5 px")):
        strict = converter(fit, make(mixed(shapes, 3), mixed(expressions, 4)), **limits)
        with pytest.raises(fit.FitError, match=f"{codes.motion_mm:.2f} mm and {codes.pixels:.2f} px off .*{said}"):
            strict.convert(one)


def test_hair_that_flame_has_none_of_moves_neither_face_nor_camera(fit: Any) -> None:
    shapes, expressions = bases()
    ours, convert = make(shapes, expressions), converter(fit, make(mixed(shapes, 3), mixed(expressions, 4)))
    template = OURS["v_template"]
    scalp = template[:, 1] > 0.08
    hair = np.zeros_like(template)
    hair[scalp] = 0.02 * template[scalp] / np.linalg.norm(template[scalp], axis=1, keepdims=True)
    bald, with_hair = convert.convert(frame(ours, tracked())), convert.convert(frame(ours, tracked(static_offset=hair)))
    assert with_hair.identity_mm > 2
    assert with_hair.motion_mm < 1.0
    rest = [posed(make(mixed(shapes, 3), mixed(expressions, 4)), codes) for codes in (bald, with_hair)]
    off = np.linalg.norm(projected(bald, rest[0]) - projected(with_hair, rest[1]), axis=1)
    face = (template[:, 2] > 0.06) & ~scalp
    assert off[face].mean() < 1.0, off[face].mean()


@pytest.mark.parametrize(("focal", "distance", "limit"), [(900.0, 0.8, 6.0), (1800.0, 1.6, 2.5), (6000.0, 5.0, 1.0)])
def test_another_lens_is_met_by_another_place_and_what_is_left_is_told(
    fit: Any, focal: float, distance: float, limit: float
) -> None:
    shapes, expressions = bases()
    ours = make(shapes, expressions)
    one = frame(ours, tracked(1), camera(focal, distance, middle=330.0))
    codes = converter(fit, ours).convert(one)
    off = np.linalg.norm(projected(codes, posed(ours, codes)) - expected(one), axis=1)
    assert codes.pixels == pytest.approx(np.average(off, weights=1 - OURS["weights"][:, 0]), rel=0.02)
    assert 0.02 < codes.pixels < limit
    assert np.linalg.det(codes.transform[:, :3]) == pytest.approx(1)
    # No small change of place or turn comes nearer.
    draw = np.random.default_rng(0)
    for _ in range(20):
        moved = codes.transform.copy()
        moved[:, :3] = Rotation.from_rotvec(draw.normal(0, 2e-3, 3)).as_matrix() @ moved[:, :3]
        moved[:, 3] += draw.normal(0, 5e-3, 3)
        other = fit.Codes(**{**vars(codes), "transform": moved})
        farther = np.linalg.norm(projected(other, posed(ours, codes)) - expected(one), axis=1)
        weights = 1 - OURS["weights"][:, 0]
        assert np.average(farther**2, weights=weights) > np.average(off**2, weights=weights)


def test_the_neck_is_the_cameras_and_its_bend_is_measured(fit: Any) -> None:
    shapes, expressions = bases()
    ours = make(shapes, expressions)
    convert = converter(fit, ours)
    straight = frame(ours, tracked())
    bent = frame(ours, tracked(neck_pose=[0.2, 0.1, 0]))
    np.testing.assert_allclose(bent["mesh"]["vertices"], straight["mesh"]["vertices"], atol=1e-9)
    assert straight["mesh"]["bend_mm"] < 1e-3
    assert 0.1 < bent["mesh"]["bend_mm"] < 10
    codes = [convert.convert(one) for one in (straight, bent)]
    np.testing.assert_allclose(codes[0].expression, codes[1].expression, atol=1e-6)
    assert codes[1].pixels < 0.1
    turn = codes[0].transform[:, :3] @ codes[1].transform[:, :3].T
    np.testing.assert_allclose(np.arccos((np.trace(turn) - 1) / 2), np.linalg.norm([0.2, 0.1]), atol=0.01)


def test_a_person_is_fitted_once_and_a_template_elsewhere_is_found(fit: Any) -> None:
    shapes, expressions = bases()
    ours = make(shapes, expressions)
    turned = Rotation.from_rotvec([0.05, -0.08, 0.03])
    shifted = OURS["v_template"] @ turned.as_matrix().T + [0.004, -0.01, 0.006]
    # posedirs and joints keep their axes: with no turn of jaw or eyes the models are one, moved.
    bases_there = [np.einsum("ab,vbk->vak", turned.as_matrix(), directions) for directions in (shapes, expressions)]
    convert = converter(fit, there := make(*bases_there, template=shifted))
    rest = {"jaw_pose": np.zeros(3), "eyes_pose": np.zeros(6)}
    frames = [frame(ours, tracked(index, **rest)) for index in range(2)]
    codes = [convert.convert(one) for one in frames]
    assert len(convert._people) == 1
    for one, found in zip(frames, codes, strict=True):
        assert max(found.identity_mm, found.motion_mm) < 0.05
        np.testing.assert_allclose(projected(found, posed(there, found)), expected(one), atol=0.3)
    assert codes[0].shape is codes[1].shape


def test_what_is_not_known_of_their_flame_is_refused(fit: Any) -> None:
    shapes, expressions = bases()
    ours = make(shapes, expressions)
    one = frame(ours, tracked())
    other = converter(fit, ours)
    other.forward = lambda codes: posed(ours, codes) * 1.002
    with pytest.raises(fit.FitError, match="its FLAME code gives other vertices than its arrays"):
        other.convert(one)
    fewer = {**one, "mesh": {**one["mesh"], "vertices": one["mesh"]["vertices"][:-1]}}
    with pytest.raises(fit.FitError, match="the tracked head has 699 vertices, its FLAME has 700"):
        converter(fit, ours).convert(fewer)
    behind = {**one, "camera": camera(distance=-3.0)}
    with pytest.raises(fit.FitError, match="behind the camera"):
        converter(fit, ours).convert(behind)
    broken = {**one, "mesh": {**one["mesh"], "vertices": one["mesh"]["vertices"] * np.nan}}
    with pytest.raises(fit.FitError, match="holds NaN or infinite values"):
        converter(fit, ours).convert(broken)
    nowhere = {**one, "camera": {**camera(), "world_to_camera": np.full((4, 4), np.inf)}}
    with pytest.raises(fit.FitError, match="its camera holds NaN or infinite values"):
        converter(fit, ours).convert(nowhere)
    with pytest.raises(fit.FitError, match="of 256x512, not 512x512"):
        converter(fit, ours).convert({**one, "camera": {**camera(), "width": 256}})
    with pytest.raises(fit.FitError, match="has no FLAME tracking"):
        converter(fit, ours).convert({**one, "mesh": None})
    with pytest.raises(fit.FitError, match="has no 'v_template'"):
        fit.Flame.of(SimpleNamespace(), 3)
