"""The feature engine: each frame once through each extractor, the cache first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatarbench.errors import AvatarbenchError, UnknownNameError, Unscorable
from avatarbench.metrics import engine as engine_module
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine, load_extractor
from avatarbench.metrics.features import Frame
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
        assert isinstance(getattr(extractor, "kept", None), tuple)


def test_a_broken_extractor_names_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint, EntryPoints

    broken = EntryPoint("mine", "no.such.module:X", engine_module.GROUP)
    monkeypatch.setattr(engine_module, "entry_points", lambda group: EntryPoints([broken]))
    with pytest.raises(AvatarbenchError, match=r"no\.such\.module"):
        load_extractor("mine")
