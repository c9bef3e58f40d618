"""``avatarbench assets`` as a user types it, against the real package registry."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from avatarbench.assets.catalogue import CATALOGUE


def avatarbench(
    *words: str, cache: Path, limit: int | None = None, before: Sequence[str] = (), env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the CLI with its own cache; ``limit`` is the largest file, in bytes, that it may write."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AVATARBENCH_")}

    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [*before, sys.executable, "-m", "avatarbench", *words],
        env={**kept, "AVATARBENCH_CACHE": str(cache), **(env or {})},
        text=True,
        capture_output=True,
        timeout=300,
        preexec_fn=restrict,
    )


def files(cache: Path) -> list[str]:
    """What the cache holds, without locks (always empty) and stamps."""
    return sorted(p.name for p in cache.rglob("*") if p.is_file() and p.suffix not in (".lock", ".json"))


@pytest.mark.slow
def test_the_landmarker_and_both_lpips_networks_come_from_the_registry(tmp_path: Path) -> None:
    ids = ["face-landmarker", "lpips-alexnet", "lpips-vgg16"]
    done = avatarbench("assets", "pull", *ids, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == sorted(CATALOGUE[id].filename for id in ids)
    for id in ids:
        where = avatarbench("assets", "path", id, cache=tmp_path, env={"AVATARBENCH_OFFLINE": "1"})
        assert where.returncode == 0, where.stderr
        path = Path(where.stdout.removesuffix("\n"))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == CATALOGUE[id].sha256
        assert path.stat().st_size == CATALOGUE[id].size
    damaged = tmp_path / "assets" / "face_landmarker.task"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    checked = avatarbench("assets", "verify", cache=tmp_path)
    assert checked.returncode == 1
    assert CATALOGUE["face-landmarker"].sha256 in checked.stderr
    assert hashlib.sha256(damaged.read_bytes()).hexdigest() in checked.stderr
    assert "lpips-vgg16  ok" in checked.stdout


def test_offline_a_missing_asset_says_how_to_get_it(tmp_path: Path) -> None:
    done = avatarbench(
        "assets", "pull", "face-landmarker", "dlib-face", cache=tmp_path, env={"AVATARBENCH_OFFLINE": "1"}
    )
    assert done.returncode == 1
    assert "avatarbench assets pull face-landmarker" in done.stderr
    assert "2 of 2 assets could not be fetched: face-landmarker, dlib-face" in done.stderr
    path = avatarbench("assets", "path", "face-landmarker", cache=tmp_path)
    assert path.returncode == 1
    assert path.stdout == ""
    assert "avatarbench assets pull face-landmarker" in path.stderr
    assert "Traceback" not in path.stderr + done.stderr


def test_without_a_network_a_pull_fails_in_seconds(tmp_path: Path) -> None:
    """Every address leads to a closed port, the registry's included."""
    closed = "http://127.0.0.1:9"
    env = {"https_proxy": closed, "http_proxy": closed, "no_proxy": "", "PIP_NO_INDEX": "0", "PIP_INDEX_URL": closed}
    env |= {"PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    done = avatarbench("assets", "pull", "face-landmarker", "driving-clip", "inception-2015", cache=tmp_path, env=env)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "3 of 3 assets could not be fetched" in done.stderr
    assert files(tmp_path) == []


def test_a_file_brought_by_hand_is_used_where_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / "by-hand"
    folder.mkdir()
    (folder / "single_face.mp4").write_bytes(b"not the clip")
    done = avatarbench("assets", "path", "driving-clip-short", cache=tmp_path, env={"AVATARBENCH_ASSETS": str(folder)})
    assert done.returncode == 1
    assert CATALOGUE["driving-clip-short"].sha256 in done.stderr
    assert hashlib.sha256(b"not the clip").hexdigest() in done.stderr


def test_list_shows_state_licence_and_source(tmp_path: Path) -> None:
    done = avatarbench("assets", "list", cache=tmp_path)
    assert done.returncode == 0
    for id, asset in CATALOGUE.items():
        row = next(line for line in done.stdout.splitlines() if line.strip().startswith(id + " "))
        assert "missing" in row
        assert asset.licence in row


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pull", "face-landmarkr"), "did you mean 'face-landmarker'"),
        (("path", "nothing-like-it"), "Known: face-landmarker"),
        (("pull",), "name the assets to pull"),
    ],
)
def test_a_wrong_word_is_a_usage_error(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = avatarbench("assets", *words, cache=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["list", "pull", "verify", "path"])
def test_help_shows_an_example(tmp_path: Path, verb: str) -> None:
    done = avatarbench("assets", verb, "--help", cache=tmp_path, env={"COLUMNS": "200"})
    assert done.returncode == 0
    assert "Example" in done.stdout


def test_a_file_that_may_not_grow_is_a_clear_error_without_leftovers(tmp_path: Path) -> None:
    """What a full disk does to any user, root or not: the kernel refuses the write half way."""
    done = avatarbench("assets", "pull", "driving-clip-short", cache=tmp_path, limit=100_000)
    assert done.returncode == 1
    assert "avatarbench assets pull driving-clip-short" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback (most recent" not in done.stderr
    assert files(tmp_path) == []


MOUNT = 'mount -t tmpfs -o size=2m tmpfs "$0" && { "$@"; code=$?; find "$0" -type f -size +0; exit $code; }'


@pytest.mark.slow
def test_a_small_disk_that_fills_is_a_clear_error_without_leftovers(tmp_path: Path) -> None:
    """A tmpfs of 2 MB in a mount namespace of its own; where the system allows none, a limit on the size of a file."""
    disk = tmp_path / "disk"
    disk.mkdir()
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(disk)]
    can_mount = shutil.which("unshare") and subprocess.run([*inside, "true"], capture_output=True).returncode == 0
    for id in ("face-landmarker", "driving-clip"):
        done = avatarbench(
            "assets", "pull", id, cache=disk, before=inside if can_mount else [], limit=None if can_mount else 1 << 21
        )
        assert done.returncode == 1
        assert ("No space left on device" if can_mount else "File too large") in done.stderr
        assert f"avatarbench assets pull {id}" in done.stderr
        assert "AVATARBENCH_CACHE" in done.stderr
        assert "Traceback (most recent" not in done.stderr
        assert done.stdout == ""
        assert files(disk) == []
