"""Training sets: what is read is what was written, portraits are chosen and tracked as a user's, damage is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatarbench import assets
from avatarbench.datasets.images import write_png
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.datasets.openheads import embedded_split
from avatarbench.errors import DataError
from avatarbench.heads.decimate import Decimated
from avatarbench.methods.pointillist.build_person import check_cloud, write_json, write_tensors
from avatarbench.methods.pointillist.build_portraits import nearest_cameras, of_openheads
from avatarbench.methods.pointillist.conditioning import framed, rest_of
from avatarbench.methods.pointillist.tokenizer import Cube, Points, Tokenizer, Vocabulary
from avatarbench.methods.pointillist.training_set import FORMAT, MANIFEST, TrainingSet, mirror_map
from avatarbench.metrics.face import FaceLandmarker, to_track
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.openheads.cameras import FRONTAL
from avatarbench.tracking.anny_fit import fit_portrait
from avatarbench.tracking.face_model import face_model

FACES = 5
TOKENIZER = Tokenizer(Vocabulary(16, FACES), Cube((-1.0, -1.0, -1.0), 2.0), "z")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two people with two portraits each."""
    root = tmp_path / "set"
    draw = torch.Generator().manual_seed(0)
    write_tensors(root / "rig.safetensors", {"faces": torch.arange(15).view(5, 3), "mirror": torch.arange(5).flip(0)})
    people = {}
    for person in ("001", "002"):
        count = 3 + int(person)
        cloud = {"positions": torch.rand(count, 3, generator=draw), "bindings": torch.arange(count) % FACES}
        write_tensors(root / person / "cloud.safetensors", cloud | {"rest": torch.rand(15, 3, generator=draw)})
        write_tensors(root / person / "tracking.safetensors", {"vertices": torch.rand(2, 15, 3, generator=draw)})
        names = ["portrait-00.png", "portrait-01.png"]
        for name in names:
            image = torch.randint(0, 256, (6, 4, 3), generator=draw, dtype=torch.uint8).numpy()
            write_png(root / person / name, image)
        people[person] = {"portraits": [{"file": name} for name in names]}
    write_manifest(root, {"people": people})
    return root


def write_manifest(root: Path, changes: dict[str, Any]) -> None:
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and p.name != MANIFEST]
    digests = {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    plain = {"format": FORMAT, "config": {"levels": 16}, "tokenizer": TOKENIZER.to_json(), "files": digests}
    write_json(root / MANIFEST, plain | changes)


def manifest(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / MANIFEST).read_text()))


def test_a_set_gives_back_what_was_written(root: Path) -> None:
    found = TrainingSet(root)
    assert found.people == ("001", "002")
    assert (found.tokenizer, found.config) == (TOKENIZER, {"levels": 16})
    assert found.faces.shape == (5, 3)
    assert found.mirror.tolist() == [4, 3, 2, 1, 0]
    cloud = found.cloud("002")
    assert cloud.positions.shape == (5, 3)
    assert cloud.bindings.tolist() == [0, 1, 2, 3, 4]
    assert found.rest("001").shape == (15, 3)
    first, second = found.portraits("001")
    assert first.image.shape == (6, 4, 3)
    assert first.image.dtype == np.uint8
    assert first.vertices.shape == (15, 3)
    assert not np.array_equal(first.image, second.image)
    assert found.portraits("001") is found.portraits("001")  # decoded once
    assert found.tracking("001")["vertices"].shape == (2, 15, 3)


def test_a_person_is_told_by_the_cloud_and_the_identity(root: Path) -> None:
    people = manifest(root)["people"]
    people["002"]["sources"] = {"identity": "ab"}
    write_manifest(root, {"people": people})
    found = TrainingSet(root)
    digests = [
        hashlib.sha256((root / person / "cloud.safetensors").read_bytes()).hexdigest() for person in found.people
    ]
    assert found.marks("001") == {"cloud": digests[0]}  # a set of before identities were kept
    assert found.marks("002") == {"cloud": digests[1], "identity": "ab"}


def test_the_digest_follows_every_file(root: Path) -> None:
    before = TrainingSet(root).digest
    assert TrainingSet(root).digest == before
    write_png(root / "002" / "portrait-01.png", np.zeros((6, 4, 3), np.uint8))
    write_manifest(root, {"people": manifest(root)["people"]})
    assert TrainingSet(root).digest != before


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("rig.safetensors", TrainingSet),
        ("001/cloud.safetensors", lambda root: TrainingSet(root).cloud("001")),
        ("001/tracking.safetensors", lambda root: TrainingSet(root).portraits("001")),
        ("001/portrait-01.png", lambda root: TrainingSet(root).portraits("001")),
    ],
)
def test_a_damaged_or_lost_file_is_named(root: Path, name: str, ask: Callable[[Path], Any]) -> None:
    whole = (root / name).read_bytes()
    (root / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(
        DataError, match=rf"{name} has sha256 \w+\.\.\., and manifest.json says \w+\.\.\.: it is damaged"
    ):
        ask(root)
    (root / name).unlink()
    with pytest.raises(DataError, match=rf"{name} does not exist: manifest.json lists it"):
        ask(root)


def test_a_file_that_holds_something_else_is_named_although_its_digest_is_right(root: Path) -> None:
    people = manifest(root)["people"]
    (root / "001" / "portrait-00.png").write_bytes(b"no picture")
    (root / "001" / "cloud.safetensors").write_bytes(b"no tensors")
    write_tensors(root / "002" / "cloud.safetensors", {"positions": torch.zeros(4, 3), "bindings": torch.zeros(3)})
    write_manifest(root, {"people": people})
    found = TrainingSet(root)
    with pytest.raises(DataError, match=r"portrait-00.png is no picture"):
        found.portraits("001")
    with pytest.raises(DataError, match=r"001/cloud.safetensors holds no tensors"):
        found.cloud("001")
    with pytest.raises(DataError, match=r"'bindings' has the shape \(3,\), where \(4,\) is expected"):
        found.cloud("002")
    with pytest.raises(DataError, match=r"'rest' is missing"):
        found.rest("002")


def test_folders_and_manifests_that_are_no_sets_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no finished training set"):
        TrainingSet(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no person '003'; it has 001, 002"):
        TrainingSet(root).cloud("003")
    whole = manifest(root)
    for changes, message in (
        ({"format": FORMAT + 1}, rf"another version of avatarbench \(format {FORMAT + 1}"),
        ({"tokenizer": {"levels": 3}}, "no tokenizer's values"),
        ({"files": 3}, "is no manifest of a training set"),
        ({"tokenizer": TOKENIZER.to_json() | {"faces": 4}}, "has 5 faces, and the tokenizer is for 4"),
    ):
        write_json(root / MANIFEST, whole | changes)
        with pytest.raises(DataError, match=message):
            TrainingSet(root)
    (root / MANIFEST).write_text("[1")
    with pytest.raises(DataError, match="is no manifest of a training set"):
        TrainingSet(root)


def test_a_manifest_leads_to_no_file_outside_its_folder(root: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "secret.png", np.zeros((2, 2, 3), np.uint8))
    digest = hashlib.sha256((tmp_path / "secret.png").read_bytes()).hexdigest()
    whole = manifest(root)
    for outside in ("../../secret.png", str(tmp_path / "secret.png")):
        whole["people"]["001"]["portraits"][0]["file"] = outside
        whole["files"] |= {f"001/{outside}": digest, outside: digest}
        write_json(root / MANIFEST, whole)
        with pytest.raises(DataError, match=r"lists no file|/set/001/\S+ does not exist"):
            TrainingSet(root).portraits("001")


def test_the_mirror_of_a_symmetric_mesh_swaps_its_sides() -> None:
    half = torch.tensor([[0.1, 0, 0], [0.2, 0, 0], [0.1, 0.1, 0.1], [0.1, 0, 0.3], [0.2, 0, 0.3], [0.1, 0.1, 0.4]])
    vertices = torch.cat([half, half * torch.tensor([-1.0, 1, 1])])
    faces = torch.tensor([[0, 1, 2], [3, 4, 5], [7, 6, 8], [10, 9, 11]])  # the other side's corners run the other way
    assert mirror_map(vertices, faces).tolist() == [2, 3, 0, 1]


def test_the_mirror_keeps_two_layers_apart() -> None:
    """An upper and a lower lid, 1 mm apart, one looking out and one in; the mirrored lids stand half a layer off."""
    lid = torch.tensor([[0.10, 0, 0], [0.11, 0, 0], [0.10, 0, 0.01]])
    back = torch.tensor([0, 0.001, 0])
    other = lid * torch.tensor([-1.0, 1, 1]) + 0.6 * back
    vertices = torch.cat([lid, lid + back, other, other + back])
    faces = torch.tensor([[0, 1, 2], [4, 3, 5], [7, 6, 8], [9, 10, 11]])
    assert mirror_map(vertices, faces)[:2].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("positions", "bindings", "message"),
    [
        (torch.zeros(9, 3), torch.zeros(9).long(), "has 9 points and .* generates at most 8: give fit.points=8, or"),
        (torch.zeros(2, 3), torch.tensor([0, 5]), "bindings from 0 to 5, and the rig has faces 0 to 4"),
        (torch.zeros(2, 3), torch.tensor([-1, 2]), "bindings from -1 to 2"),
        (torch.zeros(0, 3), torch.zeros(0).long(), "has 0 points"),
        (torch.tensor([[0, torch.nan, 0]]), torch.zeros(1).long(), "not finite"),
    ],
)
def test_a_cloud_that_cannot_be_learnt_is_refused(
    positions: torch.Tensor, bindings: torch.Tensor, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        check_cloud(Points(positions, bindings), 5, 8, "001")


class Reads:
    """A landmarker that finds what it is told to, one answer a picture, and then only good faces."""

    def __init__(self, *answers: Missing | int) -> None:
        self.answers = list(answers)
        self.good = read_once()

    def extract(self, frames: Sequence[Frame]) -> list[Features | Missing]:
        answer = self.answers.pop(0) if self.answers else 1
        assert not isinstance(self.good, Missing)
        return [answer if isinstance(answer, Missing) else self.good | {"faces": np.array([answer], np.int32)}]


@cache
def read_once() -> Features | Missing:
    landmarker = FaceLandmarker()
    try:
        return landmarker.extract([Frame(portrait())])[0]
    finally:
        landmarker.close()


def portrait() -> np.ndarray:
    return NersembleDataset(embedded_split()).read(f"501_PORTRAIT_{FRONTAL}", 0)


@pytest.fixture(scope="module", autouse=True)
def _landmarker() -> None:
    assets.pull("face-landmarker")


def copied(person: str, root: Path, *takes: str, frames: int = 2) -> Path:
    """A person of the test split with a few takes, at most so many frames of each camera."""
    split = embedded_split()
    for take in takes:
        shutil.copytree(split / person / "sequences" / take, root / person / "sequences" / take)
    for camera in (root / person / "sequences").glob("*/*/cam_*"):
        for extra in sorted(camera.iterdir())[frames:]:
            extra.unlink()
    shutil.copytree(split / person / "calibration", root / person / "calibration")
    shutil.copy(split / person / "identity.json", root / person / "identity.json")
    return root


def found_of(root: Path, landmarker: Any, portraits: Path | None = None, most: int = 16) -> Any:
    return of_openheads(root, "501", portraits, most, None, landmarker)


def test_a_portrait_is_tracked_as_a_users_and_pictures_without_one_face_are_left_out(tmp_path: Path) -> None:
    root = copied("501", tmp_path, "PORTRAIT", "FREE")
    found = found_of(root, Reads(1, Missing("no face found")))
    assert [str(one.place) for one in found.tracked] == [f"PORTRAIT/00000/{FRONTAL}", *_free(root)[1:]]
    assert [(str(one.place), one.reason) for one in found.left] == [(_free(root)[0], "no face found")]
    assert found.notes == []
    assert set(found.sources) == {f"501_PORTRAIT_{FRONTAL}", f"501_FREE_{FRONTAL}"}
    first = found.tracked[0]
    seen = read_once()
    assert not isinstance(seen, Missing)
    assert np.array_equal(first.image, framed(portrait(), to_track(seen)))
    rig = face_model().rig
    neutral = rig.rest(first.values["shape"][None], torch.zeros(1, 0))[0][0]
    assert torch.equal(first.vertices, neutral)
    several = found_of(root, Reads(2), most=1)
    assert several.tracked == []
    assert several.left[0].reason == "2 faces"


def _free(root: Path) -> list[str]:
    data = NersembleDataset(root)
    name = f"501_FREE_{FRONTAL}"
    return [f"FREE/{data.frame_number(name, i):05d}/{FRONTAL}" for i in range(data.length(name))]


def test_the_tracked_head_is_carried_to_the_rig_of_the_bindings() -> None:
    pair = torch.tensor([[0, 1, 2], [3, 4, 5]])
    small = Decimated(torch.zeros(0, 3).long(), pair, torch.full((2, 3), 1 / 3))
    seen = read_once()
    assert not isinstance(seen, Missing)
    fit = fit_portrait(to_track(seen), (256, 256))
    torch.testing.assert_close(rest_of(fit, small), rest_of(fit, None)[pair].mean(1))


def test_where_the_portrait_comes_from_is_said(tmp_path: Path) -> None:
    root = copied("501", tmp_path / "data", "FREE")
    found = found_of(root, Reads(), most=2)
    assert [one.place.take for one in found.tracked] == ["PORTRAIT", "FREE"]
    assert found.notes == ["the PORTRAIT of 501 is the test split's, which ships"]
    given = found_of(root, Reads(), embedded_split(), most=1)
    assert [one.place.take for one in given.tracked] == ["PORTRAIT"]
    assert given.notes == []
    identity = root / "501" / "identity.json"
    identity.write_text(identity.read_text() + "\n")
    alone = found_of(root, Reads(), most=1)
    assert [str(one.place) for one in alone.tracked] == _free(root)[:1]
    assert "there is no PORTRAIT of 501: the frontal picture of FREE, frame" in alone.notes[0]
    with pytest.raises(DataError, match=r"is not the person of .*: their identity.json differ"):
        found_of(root, Reads(), embedded_split())
    bare = copied("501", tmp_path / "bare", "FREE")
    with pytest.raises(DataError, match="has no sequence PORTRAIT of person '501', which --portraits is to give"):
        found_of(root, Reads(), bare)


def test_the_rest_frame_stands_in_for_a_portrait_before_other_moments(tmp_path: Path) -> None:
    root = copied("501", tmp_path, "FREE")
    sequences = root / "501" / "sequences"
    shutil.copytree(sequences / "FREE", sequences / "EXP-1-head")
    (root / "501" / "identity.json").write_text("{}")
    found = found_of(root, Reads(), most=1)
    assert str(found.tracked[0].place) == f"EXP-1-head/00000/{FRONTAL}"


def test_the_nearest_cameras_are_those_that_look_most_nearly_the_same_way(tmp_path: Path) -> None:
    root = copied("501", tmp_path, "PORTRAIT")
    take = root / "501" / "sequences" / "PORTRAIT"
    for serial in ("222200042", "222200043", "220700191", "222200036"):  # 45, 19.3, 19.6 and 25 degrees aside
        for kind in ("images", "masks"):
            shutil.copytree(take / kind / f"cam_{FRONTAL}", take / kind / f"cam_{serial}")
    assert nearest_cameras(NersembleDataset(root), "501", "PORTRAIT") == [FRONTAL, "222200043", "220700191"]
    shutil.rmtree(take / "images" / f"cam_{FRONTAL}")
    with pytest.raises(DataError, match=f"has no picture of '501_PORTRAIT_{FRONTAL}': portraits are frontal"):
        nearest_cameras(NersembleDataset(root), "501", "PORTRAIT")
