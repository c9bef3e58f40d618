"""AvatarPointillist with the weights that ship, through the command line, as on a fresh machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

from avatarbench.gaussians.head import load_head
from avatarbench.methods.pointillist.checkpoint import shipped
from avatarbench.run.record import RunRecord
from tests.conftest import Cli


def test_pointillist_draws_a_stranger_and_moves_it_as_the_driver_moves(cli: Cli, tmp_path: Path) -> None:
    done = cli(
        "run", "-m", "pointillist", "-m", "source-copy", "-p", "openheads-self", "--sources", 1, "--limit", 3,
        "--metric", "akd-mediapipe", "--metric", "lpips-alex",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = (RunRecord.load(p.parent) for p in tmp_path.glob("runs/*/run.json"))
    values = {(r.method, r.metric): r.value for r in record.results}
    still, ours = (values[name, "akd-mediapipe"] for name in ("source-copy", "pointillist"))
    assert still is not None
    assert ours is not None
    assert ours < still / 3
    ran = next(method for method in record.methods if method.id == "pointillist")
    assert ran.origin["weights"]["checkpoint"]["sha256"] == hashlib.sha256(shipped().read_bytes()).hexdigest()
    (kept,) = tmp_path.glob("runs/*/avatars/pointillist/*.avatar")
    assert 500 < len(load_head(kept).cloud) <= 1500
