"""What the benchmark of OpenHeads' generator times, on a clock that the test holds."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from avatarbench.openheads.generate import Request
from benchmarks import openheads_generate


def test_enough_pictures_are_timed_and_those_before_the_clock_are_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Processes take 10 s to get ready and 3 s a picture, all in step."""
    now = [0.0]

    def generate(request: Request, workers: int, progress: Callable[[int, int], None]) -> int:
        progress(0, request.pictures)
        now[0] += 10
        for done in range(1, request.pictures + 1):
            now[0] += 3 if done % workers == 0 else 0
            progress(done, request.pictures)
        now[0] += 5  # encoding
        return request.pictures

    monkeypatch.setattr(openheads_generate, "generate", generate)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr("sys.argv", ["openheads_generate.py"])
    openheads_generate.main()
    assert capsys.readouterr().out.splitlines() == [
        "1 process: 20.0 frames a minute at 256 px and 32 samples, over 8 pictures, "
        "after 13 s until 1 picture was done",
        "2 processes: 40.0 frames a minute at 256 px and 32 samples, over 16 pictures, "
        "after 13 s until 2 pictures were done",
        "ratio: 2.00",
    ]
    assert now[0] < 90
