"""The overlay's video lasts as long as the one it is drawn over."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avatarbench.tracking.overlay import write_video


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25, 2)])
def test_the_frame_rate_is_kept_exactly(tmp_path: Path, rate: Fraction) -> None:
    pictures = [np.full((33, 48, 3), 20 * n, np.uint8) for n in range(6)]
    write_video(tmp_path / "overlay.mp4", pictures, float(rate))
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        (stream,) = container.streams.video
        assert stream.average_rate == rate
        times = [float(frame.time) for frame in container.decode(stream)]
    np.testing.assert_allclose(np.diff(times), 1 / float(rate), rtol=1e-3)
