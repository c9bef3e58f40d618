"""Rules become pairs: who, which frame, which cameras, in whatever order and however complete the data is."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace

import numpy as np
import pytest

from avatarbench import registry
from avatarbench.errors import DataError
from avatarbench.method import FaceTrack
from avatarbench.metrics.features import Missing
from avatarbench.protocol import Manifest
from avatarbench.run.draws import ordered, rank, sample, spread
from avatarbench.run.people import by_name, target_cameras
from avatarbench.run.resolve import own_frames, resolve
from avatarbench.run.sources import hidden
from tests.units.split_fake import FRONTAL, Recordings, everybody_seen, face, multi_view, spec_of, unreadable

PEOPLE = [f"{n:03d}" for n in range(10, 26)]
LICENSED = (
    "nersemble-self",
    "nersemble-cross",
    "nersemble-ablation",
    "vfhq-self",
    "vfhq-cross",
    "hdtf-self",
    "hdtf-cross",
)


def sources(manifest: Manifest) -> list[str]:
    return list(dict.fromkeys(p.source.name for p in manifest.pairs))


def draw(name: str, data: Recordings, **changes: object) -> Manifest:
    return resolve(spec_of(name, **changes), data, everybody_seen).manifest


def test_draws_are_the_same_for_ever() -> None:
    assert rank(1, "source", "017").hex()[:16] == "9d80d66794807aa3"
    assert ordered(1, "source", ["c", "a", "b"]) == ordered(1, "source", ["b", "c", "a"])
    assert sample(1, "clip", range(1, 12), 4) == [3, 8, 9, 10]
    assert sample(1, "clip", range(3), 9) == [0, 1, 2]


@pytest.mark.parametrize(("count", "expected"), [(1, [5]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, list(range(10)))])
def test_even_steps_take_the_first_and_the_last(count: int, expected: list[int]) -> None:
    assert spread(range(10), count) == expected


def test_the_same_people_take_part_whatever_the_order_of_the_folder() -> None:
    lengths = multi_view(PEOPLE)
    names = list(lengths)
    random.Random(0).shuffle(names)
    first = draw("nersemble-self", Recordings(lengths), people=5)
    assert len(sources(first)) == 5
    assert draw("nersemble-self", Recordings({name: lengths[name] for name in names}), people=5).digest() == (
        first.digest()
    )
    assert sources(draw("nersemble-self", Recordings(lengths), people=5, seed=2)) != sources(first)


def test_somebody_who_is_missing_is_replaced_and_moves_nobody_else() -> None:
    before = sources(draw("nersemble-self", Recordings(multi_view(PEOPLE)), people=5))
    gone = before[2].partition("_")[0]
    after = sources(draw("nersemble-self", Recordings(multi_view([p for p in PEOPLE if p != gone])), people=5))
    assert after[:4] == [name for name in before if not name.startswith(gone)]
    assert len(after) == 5


def test_one_fixed_motion_drives_everybody_and_its_person_is_nobodys_source() -> None:
    data = Recordings(multi_view(PEOPLE))
    cross, own = draw("nersemble-cross", data, people=5), draw("nersemble-self", data, people=5)
    assert sources(cross) == sources(own)  # every method, and both tasks, get the same portraits
    drivers = {source: [p.driver for p in cross.pairs if p.source.name == source] for source in sources(cross)}
    assert len({tuple(d) for d in drivers.values()}) == 1
    (driver,) = {p.driver.sequence.partition("_")[0] for p in cross.pairs}
    everybody = draw("nersemble-self", data, people=99)
    assert len(sources(everybody)) == len(PEOPLE) - 1
    assert driver not in {name.partition("_")[0] for name in sources(everybody)}
    assert all(p.target is None for p in cross.pairs)
    assert all(p.target == p.driver for p in own.pairs)


def test_one_person_alone_drives_itself_and_nobody_else() -> None:
    data = Recordings(multi_view(["010"]))
    assert len(sources(draw("nersemble-self", data))) == 1
    with pytest.raises(DataError, match="one person alone"):
        draw("nersemble-cross", data)


def test_target_cameras_are_the_frontal_one_and_near_ones_alike_for_everybody() -> None:
    data = Recordings(multi_view(PEOPLE))
    cameras = {
        source: tuple(dict.fromkeys(p.driver.sequence[-9:] for p in m.pairs if p.source.name == source))
        for m in [draw("nersemble-self", data, people=5)]
        for source in sources(m)
    }
    (chosen,) = set(cameras.values())
    assert chosen[0] == FRONTAL
    assert len(chosen) == 4
    assert "222200046" not in chosen  # looks from 70 degrees
    rule = registry.protocol("nersemble-self").split
    assert rule is not None
    assert rule.cameras is not None
    takes = [f"010_FREE_{serial}" for serial in chosen if serial != chosen[1]]
    fewer = target_cameras(rule.seed, rule.cameras, data, takes)
    assert fewer == tuple(takes)  # a camera that is missing moves no other


def test_the_sources_moment_drives_from_no_camera_and_frames_are_even_steps() -> None:
    manifest = draw("nersemble-self", Recordings(multi_view(PEOPLE, frames=61)), people=3, frames=60)
    for source in sources(manifest):
        at = int(source.partition("@")[2])
        assert 15 <= at < 46  # the middle half
        steps = {p.driver.sequence: [] for p in manifest.pairs if p.source.name == source}
        for p in manifest.pairs:
            if p.source.name == source:
                steps[p.driver.sequence].append(p.driver.index)
        assert list(steps.values()) == [[i for i in range(61) if i != at]] * 4


def test_a_portrait_is_the_first_middle_frame_that_shows_the_whole_face() -> None:
    shown = 21

    def judge(image: np.ndarray) -> FaceTrack | Missing:
        return face() if image[0, 0, 0] == shown else face(blink=1)

    found = resolve(spec_of("nersemble-self", people=2), Recordings(multi_view(PEOPLE[:3])), judge)
    assert {p.source.index for p in found.manifest.pairs} == {shown}


@pytest.mark.parametrize(
    ("seen", "lacking"),
    [
        (face(), None),
        (face(yaw=19, pitch=-19), None),
        (face(yaw=30), "turned"),
        (face(pitch=-25), "turned"),
        (face(blink=0.8), "eye is closed"),
        (face(faces=2), "2 faces"),
        (face(at=2), "leaves the picture"),
        (face(at=60), "leaves the picture"),
        (Missing("no face found"), "no face found"),
    ],
)
def test_what_hides_a_face(seen: FaceTrack | Missing, lacking: str | None) -> None:
    why = hidden(seen, (64, 64, 3))
    assert why is None if lacking is None else why is not None and lacking in why


def test_who_cannot_serve_is_passed_over_and_named() -> None:
    lengths = {name: n for name, n in multi_view(PEOPLE[:4]).items() if name != f"010_FREE_{FRONTAL}"}
    data = Recordings({**lengths, **multi_view(["011"], frames=1)}, uncalibrated=["012"])
    found = resolve(replace(spec_of("nersemble-self", reserved=0)), data, everybody_seen)
    assert [name[:3] for name in sources(found.manifest)] == ["013"]
    text = "\n".join(found.notes)
    assert "012: it has no calibration" in text
    assert f"'011_FREE_{FRONTAL}' has 1 frame" in text
    assert "1 of the 25 people" in text


def test_nobody_left_is_an_error_that_says_why() -> None:
    with pytest.raises(DataError, match="shows the whole face"):
        resolve(registry.protocol("nersemble-self"), Recordings(multi_view(PEOPLE[:2])), lambda _: face(blink=1))
    broken = Recordings(multi_view(PEOPLE[:2]))
    broken.read = unreadable  # type: ignore[method-assign]
    with pytest.raises(DataError, match="cannot be decoded"):
        resolve(registry.protocol("nersemble-self"), broken, everybody_seen)
    with pytest.raises(DataError, match=r"sequences like \*_FREE_222200037.*it has clip"):
        resolve(registry.protocol("nersemble-self"), Recordings({"clip": 3}), everybody_seen)


def test_clips_start_with_their_source_and_are_sampled_in_order() -> None:
    manifest = draw("vfhq-self", Recordings({f"{n}": 300 for n in range(60)}))
    assert len(sources(manifest)) == 50
    for source in sources(manifest):
        drawn = [p.driver.index for p in manifest.pairs if p.source.name == source]
        assert len(drawn) == 100
        assert drawn == sorted(set(drawn))
        assert drawn[0] > 0
    each = [tuple(p.driver.index for p in manifest.pairs if p.source.name == s) for s in sources(manifest)]
    assert len(set(each)) == 50  # every clip has a draw of its own
    assert 140 < np.mean(each) < 160


def test_clips_drive_each_other_in_a_ring_of_different_people() -> None:
    data = Recordings(dict.fromkeys(("a", "b", "c", "d"), 20), people={"a": "A", "b": "A", "c": "C", "d": "D"})
    manifest = draw("vfhq-cross", data, frames=3)
    drivers = {p.source.sequence: p.driver.sequence for p in manifest.pairs}
    assert len(drivers) == 4
    assert all(data.identity(source) != data.identity(driver) for source, driver in drivers.items())
    drawn = {p.driver for p in draw("vfhq-self", data, frames=3).pairs}
    assert {p.driver for p in manifest.pairs} <= drawn
    with pytest.raises(DataError, match="one person alone"):
        draw("vfhq-cross", Recordings({"a": 5, "b": 5}, people={"a": "A", "b": "A"}))


def test_less_data_than_the_rule_asks_for_is_used_and_counted() -> None:
    found = resolve(registry.protocol("hdtf-self"), Recordings({"a": 5, "b": 300}), everybody_seen)
    assert len(found.manifest.pairs) == 4 + 230
    assert found.notes[:2] == (
        "2 of the 20 clips that the rule asks for are in the data",
        "1 of 2 driver sequences have fewer than 230 frames to draw: they give all (the first: a gives 4)",
    )


def test_backgrounds_go_everywhere_or_nowhere() -> None:
    with_masks, without = Recordings({"a": 5, "b": 5}), Recordings({"a": 5, "b": 5}, masks=False)
    spec = registry.protocol("vfhq-self")
    assert resolve(spec, with_masks, everybody_seen).manifest.image.background == "black"
    found = resolve(spec, without, everybody_seen)
    assert found.manifest.image.background == "kept"
    assert any("backgrounds are kept, not black: 2 of 2" in note for note in found.notes)


def test_sets_compare_with_the_frames_that_self_reenactment_draws_of_the_sources() -> None:
    data = Recordings(multi_view(PEOPLE))
    cross = draw("nersemble-cross", data, people=3, frames=4)
    own = draw("nersemble-self", data, people=3, frames=4)
    people = list(dict.fromkeys(p.source for p in cross.pairs))
    frames = own_frames(spec_of("nersemble-cross", people=3, frames=4), data, people)
    assert set(frames) == {p.driver for p in own.pairs} | set(people)
    assert len(frames) == 3 * (1 + 4 * 4)


@pytest.mark.parametrize("name", LICENSED)
def test_a_protocol_on_licensed_data_says_what_the_papers_state_and_what_is_ours(name: str) -> None:
    spec = registry.protocol(name)
    assert spec.split is not None
    assert spec.stated
    assert spec.ours
    assert spec.image.size == 512
    assert spec.datasets == (name.partition("-")[0],)
    assert set(spec.metrics) <= set(registry.names("metrics"))
    assert ("target" in spec.provides) == (spec.task == "self")
    assert json.loads(json.dumps(asdict(spec)))["split"]["seed"] == spec.split.seed


def test_people_are_told_by_names_alone() -> None:
    data = Recordings({**multi_view(["010"]), "010_EXP-1-head_222200037": 3, "011_EXP-1-head_222200037": 3})
    assert list(by_name(registry.protocol("nersemble-self"), data)) == ["010"]
