"""What a failure is recorded as."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatarbench.errors import AvatarbenchError, reason_of
from avatarbench.run.journal import Journal


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no \udcff.png"), "ValueError: no \\udcff.png"),  # as Python names a file whose name is no UTF-8
        (AvatarbenchError("no \udcff.png"), "no \\udcff.png"),
        (ValueError("größer"), "ValueError: größer"),
    ],
)
def test_a_reason_can_be_written_whatever_it_names(error: Exception, reason: str, tmp_path: Path) -> None:
    assert reason_of(error) == reason
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.write("frame", error=reason_of(error))
    assert reason.replace("\\", "\\\\") in (tmp_path / "journal.jsonl").read_text(encoding="utf-8")
