"""Identities of OpenHeads: the same from a seed everywhere, different by index and split, readable again, plausible."""

import hashlib
import json

import numpy as np
import pytest

from avatarbench.errors import DataError, UsageError
from avatarbench.heads.anny import load_anny
from avatarbench.openheads.identity import Identity, draw


def test_an_identity_survives_its_json() -> None:
    drawn = draw(7, 3)
    assert Identity.from_json(json.loads(json.dumps(drawn.to_json()))) == drawn


def test_draws_repeat_and_differ_by_seed_index_and_split() -> None:
    assert draw(7, 3) == draw(7, 3)
    others = [draw(7, 4), draw(8, 3), draw(7, 3, "test")]
    for other in others:
        assert other.phenotypes != draw(7, 3).phenotypes
        assert other.noise != draw(7, 3).noise


def test_the_numbers_of_a_seed_are_these() -> None:
    # Without hair, whose numbers its own tests hold. A change here is a new data set: raise identity.VERSION.
    parts = [draw(1, k, split).to_json() for k, split in ((0, "train"), (1, "train"), (0, "test"))]
    text = json.dumps([{k: v for k, v in part.items() if k != "hair"} for part in parts], sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "b01c40f5a88b24fa"


def test_faces_differ_in_twenty_to_sixty_moderate_ways_that_the_rig_knows() -> None:
    rig = load_anny()
    for index in range(40):
        drawn = draw(2, index)
        assert 20 <= len(drawn.local_changes) <= 61
        assert max(map(abs, drawn.local_changes.values())) < 0.9
        assert rig.shape(drawn.phenotypes, drawn.local_changes).isfinite().all()


def test_skin_darkens_with_african_ancestry_and_people_are_adults_of_both_sexes() -> None:
    people = [draw(3, index) for index in range(150)]
    melanin = np.array([p.skin.melanin for p in people])
    african = np.array([p.phenotypes["african"] for p in people])
    assert np.corrcoef(melanin, african)[0, 1] > 0.8
    assert melanin[african < 0.1].std() > 0.05
    assert all(p.age > 0.6 for p in people)
    assert 0.35 < np.mean([p.gender > 0.5 for p in people]) < 0.65


@pytest.mark.parametrize("arguments", [(1, 0, "validation"), (-1, 0), (1, -2)])
def test_a_wrong_draw_is_refused(arguments: tuple[int, int, str]) -> None:
    with pytest.raises(UsageError):
        draw(*arguments)


def test_damaged_json_is_named() -> None:
    values = draw(1, 0).to_json()
    with pytest.raises(DataError, match="eyes"):
        Identity.from_json({k: v for k, v in values.items() if k != "eyes"})
    with pytest.raises(DataError, match="wings"):
        Identity.from_json({**values, "skin": {**values["skin"], "wings": 2}})
    with pytest.raises(DataError):
        Identity.from_json({**values, "lighting": {"sky": [1, 1, 1]}})
