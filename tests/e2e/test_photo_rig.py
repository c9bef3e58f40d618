"""photo-rig through the command line: with cameras where a protocol has them, without where it has none."""

from __future__ import annotations

from pathlib import Path

from avatarbench.gaussians.head import load_head
from avatarbench.run.record import RunRecord
from tests.conftest import Cli
from tests.e2e.media import moving_face, write_video


def test_photo_rig_runs_with_cameras_and_without(cli: Cli, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", moving_face(2))
    done = cli(
        "run", "-m", "photo-rig", "-p", "openheads-self", "-p", "portrait-cross", "--sources", 1,
        "--clip", "clip.mp4", "--limit", 1, "--size", 128, "--metric", "akd-mediapipe",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = {r.protocol.id: r for r in (RunRecord.load(p.parent) for p in tmp_path.glob("runs/*/run.json"))}
    for protocol in ("openheads-self", "portrait-cross"):
        (distance,) = (r.value for r in records[protocol].results)
        assert distance is not None
        assert distance < 12  # pixels of 512
        (ours,) = records[protocol].methods
        assert ours.tracker_is_judge
        assert ours.gaussians is not None
        assert ours.gaussians > 10_000
        (kept,) = tmp_path.glob(f"runs/*-{protocol}/avatars/photo-rig/*.avatar")
        assert len(load_head(kept).cloud) == ours.gaussians
    assert "Photo rig" in done.stdout
