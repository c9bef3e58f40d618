"""FLAME beside ``smplx.FLAME``, both from one synthetic file of FLAME's schema."""

from __future__ import annotations

import contextlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatarbench.heads.flame import FlameRig, load_flame
from avatarbench.heads.rig import rotation_matrix
from tests.synthetic_flame import flame_arrays, write_2023

FRAMES = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flame")
    write_2023(folder / "FLAME_NEUTRAL.pkl", flame_arrays(), protocol=2)
    landmarks = {"lmk_face_idx": np.arange(51), "lmk_b_coords": np.full((51, 3), 1 / 3)}
    (folder / "flame_static_embedding.pkl").write_bytes(pickle.dumps(landmarks))
    return folder


@pytest.fixture(scope="module")
def ours(folder: Path) -> FlameRig:
    return load_flame(folder / "FLAME_NEUTRAL.pkl")


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    import smplx

    with contextlib.redirect_stdout(io.StringIO()):
        return smplx.FLAME(str(folder), num_betas=300, num_expression_coeffs=100, batch_size=FRAMES)


def drawn(seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        "betas": torch.randn(FRAMES, 300, generator=draw),
        "expression": torch.randn(FRAMES, 100, generator=draw),
        "transl": torch.randn(FRAMES, 3, generator=draw),
        "pose": torch.randn(FRAMES, 5, 3, generator=draw) * 0.5,
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_vertices_and_joints_are_those_of_smplx(ours: FlameRig, theirs: Any, seed: int) -> None:
    given = drawn(seed)
    names = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")
    poses = dict(zip(names, given["pose"].unbind(1), strict=True))
    with torch.no_grad():
        expected = theirs(betas=given["betas"], expression=given["expression"], transl=given["transl"].clone(), **poses)
        found = ours(given["betas"], given["expression"], rotation_matrix(given["pose"]), given["transl"])
    torch.testing.assert_close(found.vertices, expected.vertices, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.joints, expected.joints[:, :5], rtol=0, atol=1e-5)


@pytest.mark.parametrize("joint", ["root", "neck", "jaw", "eye.L", "eye.R"])
def test_each_joint_has_the_name_that_smplx_gives_it(ours: FlameRig, theirs: Any, joint: str) -> None:
    names = {
        "root": "global_orient",
        "neck": "neck_pose",
        "jaw": "jaw_pose",
        "eye.L": "leye_pose",
        "eye.R": "reye_pose",
    }
    turn = torch.tensor([[0.2, -0.3, 0.1]]).repeat(FRAMES, 1)
    nothing = {name: torch.zeros(FRAMES, 3) for name in names.values()}
    with torch.no_grad():
        expected = theirs(
            betas=torch.zeros(FRAMES, 300), expression=torch.zeros(FRAMES, 100), **{**nothing, names[joint]: turn}
        ).vertices
        zero = torch.zeros(FRAMES, 0)
        found = ours(zero, zero, ours.rotations({joint: turn}, FRAMES)).vertices
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_fewer_coefficients_are_the_first_ones(ours: FlameRig) -> None:
    given = drawn(2)
    cut = {"betas": given["betas"].clone(), "expression": given["expression"].clone()}
    cut["betas"][:, 50:], cut["expression"][:, 20:] = 0, 0
    turned = rotation_matrix(given["pose"])
    short = ours(given["betas"][:, :50], given["expression"][:, :20], turned).vertices
    torch.testing.assert_close(short, ours(cut["betas"], cut["expression"], turned).vertices, rtol=0, atol=1e-6)
