"""The examples of docs/adding-a-metric.md run as they are printed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from avatarbench import assets
from avatarbench.metrics import engine
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.scorer import Item, LazyImage, Scorer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-metric.md"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each Python block of the page as the module that its first line names."""
    names = []
    for name, code in re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        (tmp_path / f"{name}.py").write_text(code)
        names.append(name)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in names:
        sys.modules.pop(name, None)


def shifted(key: str, columns: int, gain: float = 1.0) -> LazyImage:
    image = (np.roll(astronaut()[:300, 60:360], columns, axis=1) * gain).astype(np.uint8)
    return LazyImage(f"{key}{columns}", lambda: image)


@pytest.mark.usefixtures("modules")
def test_the_pair_metric_scores_a_pair() -> None:
    from sharpness import SPEC  # type: ignore[import-not-found]

    scorer = Scorer([SPEC], FeatureCache(None))
    ((score,),) = scorer.score([[Item("s", "m", shifted("p", 0, 0.5), {"target": shifted("t", 0)})]])
    assert score.value == pytest.approx(0.25, abs=0.02)


@pytest.mark.usefixtures("modules")
def test_the_set_metric_and_its_extractor_compare_two_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    from palette import SPEC, FaceHistogram  # type: ignore[import-not-found]

    assets.pull("face-landmarker")
    load = engine.load_extractor
    monkeypatch.setattr(engine, "load_extractor", lambda n: FaceHistogram if n == FaceHistogram.id else load(n))
    scorer = Scorer([SPEC], FeatureCache(None))
    real = [shifted("r", n) for n in range(10)]
    faceless = LazyImage("dark", lambda: np.zeros((64, 64, 3), np.uint8))
    same = scorer.set_value(SPEC.id, [*real, faceless], real)
    darker = scorer.set_value(SPEC.id, [shifted("p", n, 0.7) for n in range(10)], real)
    few = scorer.set_value(SPEC.id, real[:9], real)
    scorer.close()
    assert same.value == 0
    assert same.skipped == {"dark": "no face found"}
    assert 0.05 < darker.value <= 1
    assert few.reason == "9 prediction frames with features, palette-distance needs at least 10"
