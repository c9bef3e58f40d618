"""The feature engine: each frame once through each extractor, the cache first."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarbench.errors import AssetError, AvatarbenchError, UnknownNameError, Unscorable
from avatarbench.metrics import engine as engine_module
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine, load_extractor
from avatarbench.metrics.features import Features, Frame
from avatarbench.metrics.reasons import out_of_memory
from tests.units import fake_extractors
from tests.units.fake_extractors import PASSES


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "load_extractor", fake_extractors.CLASSES.__getitem__)
    PASSES.clear()


def frame(level: int) -> Frame:
    image = np.full((4, 5, 3), level, np.uint8)
    image[0] = level // 2
    return Frame(image)


def test_equal_frames_pass_once_and_both_get_the_features() -> None:
    engine = FeatureEngine(["brightness"], FeatureCache(None))
    first, second = frame(10), frame(10)
    engine.extract([first, second], {"brightness": False})
    assert PASSES.total() == 1
    np.testing.assert_array_equal(first["brightness"]["mean"], second["brightness"]["mean"])


def test_a_required_extractor_runs_first_and_only_where_needed(tmp_path: Path) -> None:
    with FeatureCache(tmp_path / "f.sqlite3") as cache:
        FeatureEngine(["contrast", "brightness"], cache).extract([frame(10)], {"contrast": False})
        assert {("brightness", frame(10).digest): 1, ("contrast", frame(10).digest): 1} == PASSES
        again = frame(10)
        FeatureEngine(["contrast"], cache).extract([again, frame(20)], {"contrast": False})
        assert PASSES["contrast", again.digest] == PASSES["brightness", again.digest] == 1
        assert again["contrast"]["spread"] > 0


def test_activations_pass_a_cached_frame_through_again_and_are_released() -> None:
    engine = FeatureEngine(["brightness"], FeatureCache(None))
    engine.extract([frame(10)], {"brightness": False})
    wanted = frame(10)
    engine.extract([wanted], {"brightness": True})
    assert PASSES.total() == 2
    assert "pixels" in wanted["brightness"]
    engine.extract([wanted], {"brightness": True})
    assert PASSES.total() == 2
    engine.release([wanted])
    assert wanted["brightness"].keys() == {"mean"}


def test_a_frame_without_features_says_why_from_the_cache_too() -> None:
    cache = FeatureCache(None)
    for _ in range(2):
        black = frame(0)
        FeatureEngine(["brightness"], cache).extract([black], {"brightness": False})
        with pytest.raises(Unscorable, match="the frame is black"):
            black["brightness"]
    assert PASSES.total() == 1


def test_a_changed_extractor_below_makes_those_above_it_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(None)
    FeatureEngine(["contrast"], cache).extract([frame(10)], {"contrast": False})
    monkeypatch.setattr(fake_extractors.Brightness, "fingerprint", "brightness-2")
    FeatureEngine(["contrast"], cache).extract([frame(10)], {"contrast": False})
    assert PASSES["contrast", frame(10).digest] == 2


@pytest.mark.parametrize("extractor", ["dlib", "arcface", "6drepnet360"])
def test_another_landmarker_makes_what_rests_on_its_landmarks_run_again(
    extractor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avatarbench.metrics.face import FaceLandmarker

    monkeypatch.setattr(engine_module, "load_extractor", load_extractor)
    before = FeatureEngine([extractor], FeatureCache(None))._key(extractor)
    assert FeatureEngine([extractor], FeatureCache(None))._key(extractor) == before
    monkeypatch.setattr(FaceLandmarker, "fingerprint", "another model file")
    assert FeatureEngine([extractor], FeatureCache(None))._key(extractor) != before


def test_one_kind_of_device_never_serves_another_but_its_numbers_share() -> None:
    cache = FeatureCache(None)
    for device, passes in (("cuda:0", 1), ("cuda:1", 1), ("cpu", 2), ("cpu:0", 2)):
        FeatureEngine(["brightness"], cache, device).extract([frame(10)], {"brightness": False})
        assert PASSES.total() == passes, device


def test_asking_for_activations_that_do_not_exist_leaves_the_cache_in_use() -> None:
    cache = FeatureCache(None)
    for _ in range(2):
        FeatureEngine(["contrast"], cache).extract([frame(10)], {"contrast": True})
    assert PASSES["contrast", frame(10).digest] == 1


def test_a_frame_known_to_have_no_features_is_not_asked_for_activations_again() -> None:
    cache = FeatureCache(None)
    for _ in range(2):
        FeatureEngine(["brightness"], cache).extract([frame(0)], {"brightness": True})
    assert PASSES.total() == 1


def bright() -> Frame:
    return Frame(np.full((4, 5, 3), 250, np.uint8))


def test_an_exception_costs_the_frame_that_raises_it_and_is_never_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(None)
    good, bad, other = frames = [frame(10), bright(), frame(30)]
    FeatureEngine(["resting"], cache).extract(frames, {"resting": False})
    assert "mean" in good["resting"]
    assert "mean" in other["resting"]
    with pytest.raises(Unscorable, match=r"^fragile: ZeroDivisionError: too bright$"):
        bad["resting"]
    monkeypatch.setattr(fake_extractors.Fragile, "_read", fake_extractors.Brightness._read)
    again = bright()
    FeatureEngine(["resting"], cache).extract([again], {"resting": False})
    assert "mean" in again["resting"]


@pytest.mark.parametrize(
    "error",
    [
        AssetError("no weights"),
        MemoryError("full"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_missing_weights_and_want_of_memory_stop_the_run(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_extractors.Fragile, "raises", error)
    with pytest.raises(type(error), match=re.escape(str(error))):
        FeatureEngine(["fragile"], FeatureCache(None)).extract([frame(10), bright()], {"fragile": False})


def test_torch_says_that_a_cpu_is_out_of_memory_in_the_words_we_look_for() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("result", "reason"),
    [([], "fragile: ValueError: 0 results for 1 frames"), ([{}], "fragile: ValueError: its features lack mean")],
)
def test_an_extractor_that_breaks_its_contract_is_named(
    result: list[Features], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_extractors.Fragile, "extract", lambda *_: result)
    one = frame(10)
    FeatureEngine(["fragile"], FeatureCache(None)).extract([one], {"fragile": False})
    with pytest.raises(Unscorable, match=reason):
        one["fragile"]


def test_features_that_nobody_declared_are_named() -> None:
    with pytest.raises(Unscorable, match="the metric did not declare the extractor 'face'"):
        frame(1)["face"]


def test_an_extractor_the_engine_was_not_made_for_is_named() -> None:
    with pytest.raises(UnknownNameError, match="contrast"):
        FeatureEngine(["brightness"], FeatureCache(None)).extract([frame(1)], {"contrast": False})


def test_an_unknown_extractor_gets_near_misses() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'vgg16'"):
        load_extractor("vgg15")


def test_every_registered_extractor_loads_and_keeps_the_contract() -> None:
    from importlib.metadata import entry_points

    for entry in entry_points(group=engine_module.GROUP):
        extractor = load_extractor(entry.name)
        assert getattr(extractor, "id", None) == entry.name
        for name in ("requires", "kept", "activations"):
            assert isinstance(getattr(extractor, name, None), tuple), name


def test_an_extractor_without_the_contracts_attributes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint, EntryPoints

    incomplete = EntryPoint("mine", "collections:Counter", engine_module.GROUP)
    monkeypatch.setattr(engine_module, "entry_points", lambda group: EntryPoints([incomplete]))
    with pytest.raises(AvatarbenchError, match=r"'mine' .* lacks id, requires, kept, activations"):
        load_extractor("mine")


def test_a_broken_extractor_names_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint, EntryPoints

    broken = EntryPoint("mine", "no.such.module:X", engine_module.GROUP)
    monkeypatch.setattr(engine_module, "entry_points", lambda group: EntryPoints([broken]))
    with pytest.raises(AvatarbenchError, match=r"no\.such\.module"):
        load_extractor("mine")
