"""Pulling from a server on this machine: what is trusted, what is refused, and what is left behind."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from avatarbench import assets
from avatarbench.assets.catalogue import CATALOGUE, Asset, OwnerUrl
from avatarbench.errors import AssetError, UnknownNameError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
HASH = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content``; ``cut`` bytes of it before the connection breaks, at ``pause`` seconds a 64 KiB block."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut: int | None = None
        self.pause = 0.0
        self.requests = 0
        self.sent = threading.Event()

    def url(self, name: str = "weights.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        body = self.server.content[: self.server.cut]
        try:
            for start in range(0, len(body), 1 << 16):
                self.wfile.write(body[start : start + (1 << 16)])
                self.server.sent.set()
                time.sleep(self.server.pause)
        except ConnectionError:  # the client was killed, as a test wants it
            pass

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cache"
    monkeypatch.setenv("AVATARBENCH_CACHE", str(root))
    monkeypatch.delenv("AVATARBENCH_ASSETS", raising=False)
    monkeypatch.delenv("AVATARBENCH_OFFLINE", raising=False)
    return root


def register(monkeypatch: pytest.MonkeyPatch, *sources: OwnerUrl, id: str = "toy", unasked: bool = True) -> Asset:
    asset = Asset(id, "a toy", "CC0", f"{id}.bin", HASH, len(CONTENT), sources, unasked=unasked)
    monkeypatch.setitem(CATALOGUE, id, asset)
    return asset


def leftovers(cache: Path) -> list[str]:
    """Files in the cache, without the locks, which stay empty."""
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_pulled_file_is_found_again_without_a_request(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, OwnerUrl(server.url()))
    assert assets.state("toy") == "missing"
    found = assets.pull("toy")
    assert found.read_bytes() == CONTENT
    assert assets.pull("toy") == assets.path("toy") == assets.verify("toy") == found
    assert assets.state("toy") == "present"
    assert assets.sha256("toy") == HASH
    assert server.requests == 1


def test_a_download_with_the_wrong_hash_is_refused_with_both_hashes(
    server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    register(monkeypatch, OwnerUrl(server.url()))
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(AssetError) as caught:
        assets.pull("toy")
    assert HASH in str(caught.value)
    assert hashlib.sha256(server.content).hexdigest() in str(caught.value)
    assert leftovers(cache) == []


def test_a_corrupt_file_in_the_cache_is_never_used_and_a_pull_replaces_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, OwnerUrl(server.url()))
    found = assets.pull("toy")
    found.write_bytes(CONTENT[::-1])
    assert assets.state("toy") == "corrupt"
    with pytest.raises(AssetError, match=rf"(?s){HASH}.*{hashlib.sha256(CONTENT[::-1]).hexdigest()}.*assets pull toy"):
        assets.path("toy")
    assert assets.pull("toy").read_bytes() == CONTENT
    assert server.requests == 2


def test_verify_hashes_in_full_what_the_stamp_would_let_pass(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, OwnerUrl(server.url()))
    found = assets.pull("toy")
    before = found.stat()
    found.write_bytes(CONTENT[::-1])
    os.utime(found, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert assets.state("toy") == "present"  # same size and time: the cheap answer
    with pytest.raises(AssetError, match="wrong hash"):
        assets.verify("toy")


def test_a_local_folder_comes_before_the_network(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    register(monkeypatch, OwnerUrl(server.url()))
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    (second / "toy.bin").write_bytes(CONTENT)
    monkeypatch.setenv("AVATARBENCH_ASSETS", f"{first}{os.pathsep}{second}")
    assert assets.pull("toy") == second / "toy.bin"
    assert assets.path("toy") == second / "toy.bin"
    assert server.requests == 0


def test_a_wrong_file_in_a_local_folder_is_refused_and_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    register(monkeypatch, OwnerUrl(server.url()))
    (tmp_path / "toy.bin").write_bytes(b"mine")
    monkeypatch.setenv("AVATARBENCH_ASSETS", str(tmp_path))
    with pytest.raises(AssetError, match=r"(?s)wrong hash.*yours"):
        assets.pull("toy")
    assert (tmp_path / "toy.bin").read_bytes() == b"mine"
    assert server.requests == 0


def test_a_local_folder_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AVATARBENCH_ASSETS", str(tmp_path / "nowhere"))
    with pytest.raises(AssetError, match="nowhere"):
        assets.path("face-landmarker")


def test_a_truncated_download_leaves_nothing_and_the_next_pull_is_clean(
    server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    register(monkeypatch, OwnerUrl(server.url()))
    server.cut = 300_000
    with pytest.raises(AssetError, match="cannot be fetched"):
        assets.pull("toy")
    assert leftovers(cache) == []
    assert assets.state("toy") == "missing"
    server.cut = None
    assert assets.pull("toy").read_bytes() == CONTENT


PULL = """
import sys
from avatarbench import assets
from avatarbench.assets.catalogue import CATALOGUE, Asset, OwnerUrl
CATALOGUE["toy"] = Asset("toy", "a toy", "CC0", "toy.bin", sys.argv[2], None, (OwnerUrl(sys.argv[1]),))
print(assets.pull("toy"))
"""


def pull_elsewhere(server: Server) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PULL, server.url(), HASH], text=True, stdout=subprocess.PIPE)


def test_a_killed_pull_leaves_nothing_that_the_next_one_trusts(
    server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    register(monkeypatch, OwnerUrl(server.url()))
    server.pause = 0.2
    with pull_elsewhere(server) as process:
        assert server.sent.wait(30)
        process.send_signal(signal.SIGKILL)
    assert assets.state("toy") == "missing"
    (cache / "assets").mkdir(exist_ok=True)
    (cache / "assets" / ".toy.bin.1234-abcd.part").write_bytes(b"half")  # one killed while it wrote the final file
    server.pause = 0.0
    assert assets.pull("toy").read_bytes() == CONTENT
    assert leftovers(cache) == ["assets/.verified/toy.json", "assets/toy.bin"]


def test_two_processes_pulling_at_once_download_once(server: Server) -> None:
    server.pause = 0.05
    with pull_elsewhere(server) as one, pull_elsewhere(server) as two:
        first, second = one.communicate(timeout=60)[0], two.communicate(timeout=60)[0]
    assert (one.returncode, two.returncode) == (0, 0)
    assert first == second
    assert Path(first.strip()).read_bytes() == CONTENT
    assert server.requests == 1


def test_offline_a_missing_asset_is_an_error_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, OwnerUrl(server.url()))
    monkeypatch.setenv("AVATARBENCH_OFFLINE", "1")
    with pytest.raises(AssetError, match=r"toy.*missing.*avatarbench assets pull toy.*AVATARBENCH_OFFLINE"):
        assets.pull("toy")
    assert server.requests == 0


def test_a_side_that_cannot_be_reached_is_tried_once_and_said_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def refuse(source: OwnerUrl, folder: Path, report: object) -> Path:
        tried.append(source.url)
        from avatarbench.assets.fetch import Unreachable

        raise Unreachable("cannot be reached (no route)")

    monkeypatch.setattr("avatarbench.assets.fetch.download_url", refuse)
    register(monkeypatch, OwnerUrl("http://weights.invalid/a"), id="a")
    register(monkeypatch, OwnerUrl("http://weights.invalid/b"), id="b")
    failed = assets.ensure(["a", "b"])
    assert tried == ["http://weights.invalid/a"]
    assert list(failed) == ["a", "b"]
    assert all("no route" in str(error) for error in failed.values())


def test_the_next_source_is_tried_and_the_failure_is_said(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    register(monkeypatch, OwnerUrl("http://127.0.0.1:9/closed"), OwnerUrl(server.url()))
    started = time.monotonic()
    assert assets.pull("toy").read_bytes() == CONTENT
    assert time.monotonic() - started < 5
    assert "127.0.0.1:9" in caplog.text
    assert "Trying the next source" in caplog.text


def test_ensure_reports_everything_and_asks_before_a_licensed_asset(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, OwnerUrl(server.url()), id="free")
    register(monkeypatch, OwnerUrl(server.url()), id="licensed", unasked=False)
    register(monkeypatch, OwnerUrl("http://127.0.0.1:9/"), id="gone")
    failed = assets.ensure(["gone", "licensed", "free", "free"])
    assert list(failed) == ["gone", "licensed"]
    assert "only fetched when asked for" in str(failed["licensed"])
    assert server.requests == 1
    assert assets.pull("licensed").read_bytes() == CONTENT
    assert assets.ensure(["licensed"]) == {}


def zipped(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, CONTENT)
        archive.writestr("other.bin", b"not asked for")
    return out.getvalue()


def test_one_member_of_an_owners_archive_is_taken(server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    server.content = zipped("deep/toy.onnx")
    archive_hash = hashlib.sha256(server.content).hexdigest()
    register(monkeypatch, OwnerUrl(server.url(), archive_hash, "deep/toy.onnx"))
    assert assets.pull("toy").read_bytes() == CONTENT
    assert leftovers(cache) == ["assets/.verified/toy.json", "assets/toy.bin"]


def test_an_archive_with_the_wrong_hash_is_not_opened(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.content = zipped("toy.onnx")
    register(monkeypatch, OwnerUrl(server.url(), "0" * 64, "toy.onnx"))
    monkeypatch.setattr("avatarbench.assets.fetch.extract", lambda *a: pytest.fail("opened before its hash was right"))
    with pytest.raises(AssetError, match=rf"(?s){'0' * 64}.*{hashlib.sha256(server.content).hexdigest()}"):
        assets.pull("toy")


def test_a_full_disk_is_named_and_leaves_no_partial_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    register(monkeypatch, OwnerUrl(server.url()))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("avatarbench.assets.store.os.fsync", full)
        with pytest.raises(AssetError, match=r"No space left on device.*Free some space"):
            assets.pull("toy")
    assert leftovers(cache) == []
    assert assets.pull("toy").read_bytes() == CONTENT


def test_an_unknown_asset_gets_the_near_misses() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'face-landmarker'"):
        assets.path("face-landmarkr")


def test_every_asset_has_a_hash_a_source_and_a_file_of_its_own() -> None:
    assert len({asset.filename for asset in CATALOGUE.values()}) == len(CATALOGUE)
    for id, asset in CATALOGUE.items():
        assert asset.id == id
        assert asset.sources
        assert len(bytes.fromhex(asset.sha256)) == 32
        assert Path(asset.filename).name == asset.filename


def test_the_package_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, avatarbench.assets; print([m for m in ('torch', 'numpy', 'requests') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True).stdout == "[]\n"
