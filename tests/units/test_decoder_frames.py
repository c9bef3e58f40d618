"""Pictures that the decoder is compared with: the truth of OpenHeads, and what VHAP tracked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from avatarbench.datasets.openheads import embedded_split
from avatarbench.errors import DataError, UsageError
from avatarbench.fitting.openheads import OpenHeadsSubject
from avatarbench.methods.pointillist.decoder.frames import Recordings
from avatarbench.methods.pointillist.training_set import IDENTITY


@pytest.fixture(scope="module")
def recordings() -> Recordings:
    return Recordings(embedded_split(), {"501": {}, "502": {}}, "anny", 48)


def test_frames_are_the_pictures_cameras_and_truth_of_the_recordings(recordings: Recordings) -> None:
    subject = OpenHeadsSubject(embedded_split(), "502", None, 48)
    assert recordings.count("502") == len(subject) > 4
    number = recordings.count("502") - 1
    frame = recordings.frame("502", number)
    assert torch.equal(frame.image, subject.image(number))
    assert frame.image.shape == (48, 48, 3)
    assert (frame.camera.width, frame.camera.height) == (48, 48)
    truth = subject._truths[subject.views[number].take]
    row = truth.row(subject.views[number].step)
    for found, wanted in zip(frame.pose, (truth.expression, truth.joints, truth.translation), strict=True):
        assert torch.equal(found, torch.from_numpy(wanted[row]))


def test_the_digest_is_of_people_size_and_motion(recordings: Recordings, tmp_path: Path) -> None:
    root = embedded_split()
    assert Recordings(root, {"501": {}, "502": {}}, "anny", 48).digest == recordings.digest
    assert Recordings(root, {"501": {}}, "anny", 48).digest != recordings.digest
    assert Recordings(root, {"501": {}, "502": {}}, "anny", 32).digest != recordings.digest


def test_people_who_are_not_there_or_are_others_are_named() -> None:
    root = embedded_split()
    with pytest.raises(DataError, match="has no person '001'"):
        Recordings(root, {"001": {}}, "anny", 48)
    with pytest.raises(DataError, match=r"501 is not the person '501' of the training set: their identity.json differ"):
        Recordings(root, {"501": {IDENTITY: "0" * 64}}, "anny", 48)
    with pytest.raises(DataError, match="does not exist: name a folder of data"):
        Recordings(root / "nowhere", {"501": {}}, "anny", 48)


def test_a_person_without_pictures_is_named(tmp_path: Path) -> None:
    shutil.copytree(embedded_split() / "501", tmp_path / "501")
    shutil.rmtree(tmp_path / "501" / "sequences")
    (tmp_path / "501" / "sequences").mkdir()
    with pytest.raises(DataError, match=r"501"):
        Recordings(tmp_path, {"501": {}}, "anny", 48)


def test_tracking_and_rig_go_together(tmp_path: Path) -> None:
    for rig, tracking in (("anny", tmp_path), ("flame-teeth", None), ("horse", None)):
        with pytest.raises(UsageError, match=f"rig={rig} with"):
            Recordings(embedded_split(), {"501": {}}, rig, 48, tracking)
