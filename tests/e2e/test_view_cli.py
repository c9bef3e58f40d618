"""``avatarbench view`` as a user runs it: a page, Ctrl-C, and what cannot be shown. No browser: see tests/extra."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import torch

from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.files import write_ply
from tests.conftest import Cli


def test_it_says_its_address_serves_the_page_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    cloud = Cloud(torch.rand(5, 3), torch.rand(5, 4), torch.full((5, 3), 0.1), torch.rand(5), torch.rand(5, 3))
    write_ply(cloud, tmp_path / "cloud.ply")
    command = [sys.executable, "-m", "avatarbench", "view", "cloud.ply", "--port", "0", "--no-open"]
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address, _, rest = line.partition(" ")
        assert rest == "shows cloud.ply; Ctrl-C ends it.\n", line
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")


def test_a_path_that_holds_nothing_is_named(cli: Cli) -> None:
    done = cli("view", "nowhere.avatar", "--no-open")
    assert done.returncode == 2
    assert "nowhere.avatar does not exist as a file or a folder, and there is no run" in done.stderr
    assert "Traceback" not in done.stderr
