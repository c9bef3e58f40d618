"""Fixtures that several modules of unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.isolated.bench import Bench, Told


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


@pytest.fixture
def bench(told: Told) -> Iterator[Bench]:
    made = Bench(told)
    yield made
    for method in made.methods:
        method.close()
