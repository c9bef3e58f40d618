"""Manifests of licensed data: written where it is, read by every run, refused where somebody changed them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from avatarbench import registry
from avatarbench.errors import DataError, UsageError
from avatarbench.run.config import FramesConfig, RunConfig, SourcesConfig
from avatarbench.run.describe import describe_protocol
from avatarbench.run.local import FOLDER, Planned, plan, read_local, write_local
from avatarbench.run.resolve import resolve
from tests.units.split_fake import Recordings, everybody_seen, multi_view

SPEC = registry.protocol("vfhq-self")


@pytest.fixture
def data() -> Recordings:
    return Recordings({"a": 12, "b": 9, "c": 30})


def planned(data: Recordings, root: Path, **config: object) -> Planned:
    return plan(SPEC, RunConfig(methods=["any"], protocol=SPEC.id, **config), data, root, lambda: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["nersemble-self", "nersemble-cross"])
def test_what_was_written_is_what_the_rule_gives(name: str, tmp_path: Path) -> None:
    spec, data = registry.protocol(name), Recordings(multi_view(["010", "011", "012"]))
    path = write_local(spec, data, tmp_path, data="openheads", judge=everybody_seen)
    assert read_local(spec, path) == resolve(spec, data, everybody_seen)
    content = json.loads(path.read_text())
    assert content["data"] == "openheads"
    assert content["manifest"] == read_local(spec, path).manifest.digest()
    assert write_local(spec, data, tmp_path / "again", "openheads", everybody_seen).read_bytes() == path.read_bytes()


def test_a_manifest_that_was_edited_is_refused(data: Recordings, tmp_path: Path) -> None:
    path = write_local(SPEC, data, tmp_path)
    text = path.read_text()
    for before, after in (
        ('"frames": [1,', '"frames": [2,'),
        ('"data": null', '"data": "real"'),
        ('"size": 512', '"size": 256'),
    ):
        assert before in text
        path.write_text(text.replace(before, after, 1))
        with pytest.raises(DataError, match="was changed after it was written"):
            read_local(SPEC, path)
    for damage in ("", "[]", "{}", text[:200], '{"sha256 of the rest": 1}'):
        path.write_text(damage)
        with pytest.raises(DataError, match=r"no manifest|was changed"):
            read_local(SPEC, path)


def test_a_manifest_of_another_rule_is_refused_with_both(data: Recordings, tmp_path: Path) -> None:
    path = write_local(SPEC, data, tmp_path)
    with pytest.raises(DataError, match=r"has version 1, 'vfhq-self' has 2.*data prepare"):
        read_local(replace(SPEC, version=2), path)
    with pytest.raises(DataError, match="has rule"):
        read_local(replace(SPEC, split=replace(SPEC.split, seed=2)), path)  # type: ignore[type-var]
    with pytest.raises(DataError, match='has protocol "vfhq-self"'):
        read_local(registry.protocol("vfhq-cross"), path)
    with pytest.raises(DataError, match="cannot be read"):
        read_local(SPEC, tmp_path / "nowhere.json")


def test_a_run_takes_the_manifest_beside_the_data_and_says_what_changed_since(data: Recordings, tmp_path: Path) -> None:
    fresh = planned(data, tmp_path)
    write_local(SPEC, data, tmp_path / FOLDER)
    read = planned(data, tmp_path)
    assert read.manifest.digest() == fresh.manifest.digest()
    assert read.altered == ()
    data.content["b"] = "other"
    changed = planned(data, tmp_path)
    assert changed.altered == ("b",)
    assert [p.id for p in changed.manifest.pairs] == [p.id for p in read.manifest.pairs]
    assert changed.manifest.digest() != read.manifest.digest()
    data.lengths = {**data.lengths, "b": 3}
    with pytest.raises(DataError, match="'b', which has 3 frames now"):
        planned(data, tmp_path)
    data.lengths = {"a": 12, "c": 30}
    with pytest.raises(DataError, match=r"1 sequence that the data lacks \(b\)"):
        planned(data, tmp_path)


def test_a_manifest_with_a_background_is_not_run_on_data_without_masks(data: Recordings, tmp_path: Path) -> None:
    write_local(SPEC, data, tmp_path / FOLDER)
    data.masks = False
    with pytest.raises(DataError, match=r"puts black behind people, and 3 of 3 sequences have no masks here"):
        planned(data, tmp_path)
    write_local(SPEC, data, tmp_path / FOLDER)
    found = planned(data, tmp_path)
    record = describe_protocol(SPEC, found.manifest, found)
    assert (record.background, record.own_background) == ("kept", "black")


def test_a_manifest_can_lie_elsewhere_and_a_link_out_of_the_data_is_not_followed(
    data: Recordings, tmp_path: Path
) -> None:
    path = write_local(SPEC, data, tmp_path / "out")
    for where in (tmp_path / "out", path):
        assert planned(data, tmp_path / "root", manifest=str(where)).manifest == read_local(SPEC, path).manifest
    with pytest.raises(UsageError, match="there is no manifest"):
        planned(data, tmp_path, manifest=str(tmp_path))
    path.write_text("edited")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / FOLDER).symlink_to(tmp_path / "out")
    assert planned(data, tmp_path / "root").altered == ()


def test_limits_keep_the_first_people_and_the_drawn_frames(data: Recordings, tmp_path: Path) -> None:
    whole = planned(data, tmp_path).manifest
    cut = planned(
        data, tmp_path, sources=SourcesConfig(limit=2), frames=FramesConfig(start=1, stride=2, limit=3)
    ).manifest
    names = list(dict.fromkeys(p.source.name for p in whole.pairs))[:2]
    assert [p.id for p in cut.pairs] == [
        p.id for name in names for p in [p for p in whole.pairs if p.source.name == name][1::2][:3]
    ]
    with pytest.raises(DataError, match="no pairs left"):
        planned(data, tmp_path, frames=FramesConfig(start=99))


def test_who_takes_part_can_be_chosen_and_the_drivers_follow(data: Recordings, tmp_path: Path) -> None:
    chosen = planned(data, tmp_path, sources=SourcesConfig(sequences=["a", "c"])).manifest
    assert {p.source.sequence for p in chosen.pairs} == {"a", "c"}
    with pytest.raises(UsageError, match="draws its drivers by a rule"):
        planned(data, tmp_path, frames=FramesConfig(sequences=["a"]))
    with pytest.raises(UsageError, match="either --manifest or"):
        planned(data, tmp_path, sources=SourcesConfig(sequences=["a"]), manifest=str(tmp_path))
