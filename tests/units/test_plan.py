from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

from avatarbench import registry
from avatarbench.datasets.folder import FolderDataset
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.errors import DataError
from avatarbench.protocol import ProtocolSpec, Selection
from avatarbench.run.config import FramesConfig, RunConfig, SourcesConfig
from avatarbench.run.plan import Datasets, make_manifest, reference_set
from tests.units.nersemble_fixture import FRONTAL, LEFT, RIGHT, SERIALS, pictures, write_split


class Made:
    """A dataset without pictures: names and lengths. It has none of the optional methods."""

    def __init__(self, lengths: dict[str, int]) -> None:
        self.lengths = lengths

    def sequences(self) -> list[str]:
        return sorted(self.lengths)

    def length(self, sequence: str) -> int:
        return self.lengths[sequence]

    def read(self, sequence: str, index: int) -> np.ndarray:
        raise AssertionError("planning reads no frames")

    def digest(self, sequence: str) -> str:
        return f"sha of {sequence}"

    def notes(self, sequence: str) -> list[str]:
        return []


def spec(task: str, **changes: object) -> ProtocolSpec:
    base = ProtocolSpec(
        id="p", version=1, name="P", task="self", summary="", sources=Selection("made", limit=1),
        drivers=Selection("made"), metrics=(), provides=("image",),
    )  # fmt: skip
    return replace(base, task=task, **changes)  # type: ignore[arg-type]


def config(limit: int | None = None, sources: int | None = None, **frames: object) -> RunConfig:
    return RunConfig(
        methods=["any"],
        protocol="p",
        frames=FramesConfig(limit=limit, **frames),  # type: ignore[arg-type]
        sources=SourcesConfig(limit=sources),
    )


def ids(protocol: ProtocolSpec, datasets: Datasets, configuration: RunConfig | None = None) -> list[str]:
    return [p.id for p in make_manifest(protocol, configuration or config(), datasets).pairs]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Datasets:
    face = pictures(1, size=(32, 32))[0]
    faces = {name: np.roll(face, i, 2) for i, name in enumerate(("501", "502", "503", "509"))}
    return {"openheads": NersembleDataset(write_split(tmp_path_factory.mktemp("split"), faces))}


def test_without_identities_every_sequence_is_a_person() -> None:
    data = {"made": Made({"a": 3, "b": 2})}
    assert ids(spec("self"), data) == ["a/a/000001", "a/a/000002", "b/b/000001"]
    assert ids(spec("cross"), data) == ["a/b/000000", "a/b/000001", "b/a/000000", "b/a/000001", "b/a/000002"]


def test_equal_names_in_two_datasets_are_two_people() -> None:
    data = {"made": Made({"a": 1}), "other": Made({"a": 2})}
    assert ids(spec("cross", drivers=Selection("other")), data) == ["a/a/000000", "a/a/000001"]
    with pytest.raises(DataError, match="has no pairs"):
        make_manifest(spec("self", drivers=Selection("other")), config(), data)


def test_a_limit_is_dealt_out_among_the_driver_sequences_in_temporal_order() -> None:
    data = {"made": Made({"me": 1}), "other": Made({"x": 5, "y": 1, "z": 5})}
    cross = spec("cross", drivers=Selection("other"))
    for limit, expected in ((1, "x0"), (4, "x0 x1 y0 z0"), (7, "x0 x1 x2 y0 z0 z1 z2"), (99, None)):
        pairs = make_manifest(cross, config(limit), data).pairs
        if expected is None:
            assert len(pairs) == 11
        else:
            assert [f"{p.driver.sequence}{p.driver.index}" for p in pairs] == expected.split()


def test_with_one_driver_sequence_a_limit_takes_its_first_frames_after_the_source() -> None:
    data = {"made": Made({"clip": 100})}
    pairs = make_manifest(spec("self", drivers=Selection("made", stride=8, limit=2)), config(4), data).pairs
    assert [p.driver.index for p in pairs] == [8, 16, 24, 32]
    assert [p.driver.index for p in make_manifest(spec("self"), config(start=5, stride=50), data).pairs] == [5, 55]


def test_a_protocols_own_limit_counts_for_every_sequence() -> None:
    data = {"made": Made({"a": 9, "b": 9})}
    limited = spec("self", drivers=Selection("made", limit=2))
    assert ids(limited, data) == ["a/a/000001", "a/a/000002", "b/b/000001", "b/b/000002"]


def test_sources_are_limited_to_those_that_have_drivers(split: Datasets) -> None:
    protocol = replace(registry.protocol("openheads-cross"), drivers=Selection("openheads", sequences=("501_FREE_*",)))
    pairs = make_manifest(protocol, config(sources=2), split).pairs
    assert list(dict.fromkeys(p.source.sequence for p in pairs)) == [f"50{i}_PORTRAIT_{FRONTAL}" for i in (2, 3)]


def test_openheads_self_drives_each_portrait_with_its_own_person(split: Datasets) -> None:
    pairs = make_manifest(registry.protocol("openheads-self"), config(), split).pairs
    assert len(pairs) == 4 * 6
    for pair in pairs:
        person = pair.source.sequence[:3]
        assert pair.source.sequence == f"{person}_PORTRAIT_{FRONTAL}"
        assert fnmatchcase(pair.driver.sequence, f"{person}_FREE_*")
        assert pair.target == pair.driver


def test_openheads_cross_drives_everybody_else_with_one_motion(split: Datasets) -> None:
    protocol = registry.protocol("openheads-cross")
    manifest = make_manifest(protocol, config(), split)
    assert {p.source.sequence[:3] for p in manifest.pairs} == {"501", "502", "503"}
    assert {p.driver.sequence for p in manifest.pairs} == {f"509_FREE_{s}" for s in SERIALS}
    assert all(p.target is None for p in manifest.pairs)
    references = reference_set(protocol, manifest, split)
    assert len(references) == len(set(references)) == 3 * (1 + 6)
    assert not any("-AS-" in r.sequence or r.sequence.startswith("509") for r in references)
    few = reference_set(protocol, make_manifest(protocol, config(sources=1), split), split)
    assert {r.sequence[:3] for r in few} == {"501"}


def test_the_true_picture_shows_the_source_at_the_drivers_camera_and_time(split: Datasets) -> None:
    protocol = registry.protocol("openheads-cross-gt")
    manifest = make_manifest(protocol, config(), split)
    data = split["openheads"]
    assert len(manifest.pairs) == 3 * 6
    for pair in manifest.pairs:
        person, camera = pair.source.sequence[:3], pair.driver.sequence.rpartition("_")[2]
        assert pair.target is not None
        assert pair.target.sequence == f"{person}_FREE-AS-509_{camera}"
        step = data.frame_number(pair.driver.sequence, pair.driver.index)  # type: ignore[attr-defined]
        source = data.read(pair.source.sequence, 0)
        assert np.array_equal(data.read(pair.target.sequence, pair.target.index), np.roll(source, step, 0))
    assert reference_set(protocol, manifest, split) == [p.target for p in manifest.pairs]


def test_a_true_picture_that_is_missing_or_of_another_time_is_named(tmp_path: Path) -> None:
    face = pictures(1, size=(32, 32))[0]
    write_split(tmp_path, {"501": face, "509": face})
    protocol = registry.protocol("openheads-cross-gt")
    folder = tmp_path / "501" / "sequences" / "FREE-AS-509" / "images"
    frame = folder / f"cam_{LEFT}" / "frame_00001.webp"
    frame.rename(frame.with_name("frame_00002.webp"))
    with pytest.raises(DataError, match=rf"another frame than step 1 at index 0 of '501_FREE-AS-509_{LEFT}'"):
        make_manifest(protocol, config(), {"openheads": NersembleDataset(tmp_path)})
    (folder / f"cam_{RIGHT}").rename(folder / "elsewhere")
    with pytest.raises(
        DataError, match=rf"true frame of '501_PORTRAIT_{FRONTAL}'.*no sequence '501_FREE-AS-509_{RIGHT}'"
    ):
        make_manifest(protocol, config(sequences=[f"509_FREE_{RIGHT}"]), {"openheads": NersembleDataset(tmp_path)})


def test_other_sequences_may_be_chosen_for_a_run(split: Datasets) -> None:
    chosen = config(sequences=["503_FREE_*"])
    chosen.sources.sequences = [f"50[12]_FREE_{FRONTAL}"]
    pairs = make_manifest(registry.protocol("openheads-cross"), chosen, split).pairs
    assert {p.source.sequence for p in pairs} == {f"501_FREE_{FRONTAL}", f"502_FREE_{FRONTAL}"}
    assert {p.driver.sequence[:8] for p in pairs} == {"503_FREE"}


def test_patterns_without_a_match_say_what_there_is(split: Datasets) -> None:
    with pytest.raises(DataError, match=r"no sequence like 777_\*; it has 501_FREE-AS-509_.*, \.\.\."):
        make_manifest(registry.protocol("openheads-cross"), config(sequences=["777_*"]), split)


def test_references_without_a_match_are_none_rather_than_an_error() -> None:
    data = {"made": Made({"a": 1, "b": 2})}
    protocol = spec("cross", reference="identity", references=Selection("made", sequences=("z",)))
    assert reference_set(protocol, make_manifest(protocol, config(), data), data) == []


def test_a_folder_of_portraits_still_meets_every_clip(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("anna", "ben"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    data = {"portraits": FolderDataset(tmp_path), "clip": Made({"anna": 9, "talk": 9})}
    protocol = registry.protocol("portrait-cross")
    assert ids(protocol, data)[:2] == ["anna/anna/000000", "anna/anna/000008"]
    manifest = make_manifest(protocol, config(sources=1), data)
    assert [r.sequence for r in reference_set(protocol, manifest, data)] == ["anna"]
