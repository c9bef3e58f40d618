"""photo-rig through the command line: with cameras where a protocol has them, without where it has none."""

from __future__ import annotations

from pathlib import Path

from avatarbench.run.record import RunRecord
from tests.conftest import Cli


def test_photo_rig_runs_with_cameras_and_without(cli: Cli, tmp_path: Path) -> None:
    done = cli(
        "run", "-m", "photo-rig", "-m", "source-copy", "-p", "openheads-self", "-p", "portrait-cross", "--sources", 1,
        "--limit", 1, "--size", 128, "--metric", "akd-mediapipe",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = {r.protocol.id: r for r in (RunRecord.load(p.parent) for p in tmp_path.glob("runs/*/run.json"))}
    for protocol in ("openheads-self", "portrait-cross"):
        values = {r.method: r.value for r in records[protocol].results}
        assert values["photo-rig"] < 0.4 * values["source-copy"]
        (ours,) = (m for m in records[protocol].methods if m.id == "photo-rig")
        assert ours.tracker_is_judge
    assert "Photo rig" in done.stdout
    shown = cli("show", "photo-rig").stdout
    assert "uses where there is" in shown
    assert "camera" in shown
