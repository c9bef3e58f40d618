"""AED on blendshape scores whose differences are known."""

from __future__ import annotations

import numpy as np
import pytest

from avatarbench.errors import Unscorable
from avatarbench.metrics.aed import Aed
from avatarbench.metrics.face import ARKIT_NAMES
from avatarbench.metrics.features import Frame, Missing


def frame(faces: int = 1, **scores: float) -> Frame:
    arkit = np.zeros(52, np.float32)
    for name, score in scores.items():
        arkit[ARKIT_NAMES.index(name)] = score
    made = Frame(np.zeros((8, 8, 3), np.uint8))
    made.put("face", {"arkit": arkit, "faces": np.array([faces], np.int32)})
    return made


def test_it_is_the_mean_over_all_52_outputs() -> None:
    assert Aed()(frame(jawOpen=0.75, eyeBlinkLeft=0.25), frame(jawOpen=0.25)) == pytest.approx(0.75 / 52, abs=1e-12)
    assert Aed()(frame(_neutral=1.0), frame()) == pytest.approx(1 / 52, abs=1e-12)


def test_signs_do_not_cancel_and_order_does_not_matter() -> None:
    a, b = frame(jawOpen=1.0), frame(jawLeft=1.0)
    assert Aed()(a, b) == Aed()(b, a) == pytest.approx(2 / 52, abs=1e-12)


def test_missing_faces_and_second_faces_are_named() -> None:
    faceless = Frame(np.zeros((8, 8, 3), np.uint8))
    faceless.put("face", Missing("no face found"))
    with pytest.raises(Unscorable, match=r"^no face found in the driver$"):
        Aed()(frame(), faceless)
    assert Aed().note(frame(), frame(faces=2)) == "2 faces in the driver, largest taken"
