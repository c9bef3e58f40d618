"""The benchmark runs as a script, agrees with the reference packages, and ends with its ratio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_quick_benchmark_agrees_with_its_peer_and_prints_the_ratio_last(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "metrics.py"), "--quick", "--size", "256"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("ratio: ")
    table = {line.split()[0]: float(line.split()[-1]) for line in lines[2:11]}
    assert set(table) >= {"psnr", "ssim", "lpips-alex", "lpips-vgg", "fd-vgg", "akd-mediapipe", "csim-dlib"}
    assert max(table.values()) < 1e-4, table
