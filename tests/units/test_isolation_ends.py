"""How a worker ends: too slow, killed, told to stop, or with the run; and what then becomes of the frames."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from avatarbench.isolation import descendants, process, supervisor
from benchmarks.isolation_kills import Killer
from tests.conftest import ROOT
from tests.isolated import Interpreter
from tests.isolated.bench import Bench, Told, alive, expected, gone, motion, seeded

HOST = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
import numpy as np
from avatarbench.method import Motion, Portrait, Site
from tests.isolated import Faulty
image = np.zeros((8, 8, 3), np.uint8)
method = Faulty(faults={{"f": "parents"}}, pids={pids!r})
method.open(Site(Path({folder!r}) / "jobs" / "faulty", print, print, print))
try:
    method.build(Portrait("p", image)).render(Motion("f", 0, image))
finally:
    method.close()
"""


@pytest.mark.parametrize(
    ("fault", "state"),
    [("hangs", r"\(it was at work; it last said 'half of it is done'\)"), ("holds", r"\(without a sign of life: ")],
)
def test_a_frame_that_takes_too_long_is_stopped(
    fault: str, state: str, bench: Bench, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "BEAT", 0.2)
    interpreter = Interpreter()
    avatar = bench.avatar(interpreter, timeout=1.0, faults={"f": fault})
    with pytest.raises(process.TimedOut, match=f"^render took more than 1 s and was stopped {state}"):
        avatar.render(motion("f"))
    assert gone(*interpreter.pids)
    assert len(interpreter.pids) == 2
    assert told.said == (["half of it is done"] * 2 if fault == "hangs" else [])


class Tidying(subprocess.Popen[bytes]):
    tidies = True


class Client(Interpreter):
    """The worker is the child of a client that takes something away once it has ended, as apptainer unmounts."""

    process = Tidying

    def __init__(self, done: Path) -> None:
        super().__init__()
        self.done = done

    def start(
        self, argv: Sequence[str], *, job: Path, read_only: Sequence[Path], variables: Mapping[str, str], network: bool
    ) -> subprocess.Popen[bytes]:
        code = (
            "import os, subprocess, sys\n"
            "done, mark, *argv = sys.argv[1:]\n"
            f"code = subprocess.call(argv, env={{**os.environ, {descendants.MARK!r}: mark}})\n"
            "open(done, 'a').write('x')\nsys.exit(128 - code if code < 0 else code)\n"
        )
        others = {name: value for name, value in variables.items() if name != descendants.MARK}
        client = [sys.executable, "-c", code, str(self.done), variables[descendants.MARK], self.python, *argv[1:]]
        return super().start(client, job=job, read_only=read_only, variables=others, network=network)


def test_a_client_that_tidies_up_is_left_to_do_so(bench: Bench, tmp_path: Path) -> None:
    client = Client(tmp_path / "done")
    avatar = bench.avatar(client, timeout=1.0, faults={"f": "hangs"})
    with pytest.raises(process.TimedOut, match="render took more than 1 s"):
        avatar.render(motion("f"))
    assert client.done.read_text() == "xx"
    assert gone(*client.pids)


def test_a_shim_that_talks_without_end_is_stopped_all_the_same(bench: Bench) -> None:
    avatar = bench.avatar(timeout=0.5, faults={"f": "chatters"})
    with pytest.raises(process.TimedOut, match="it last said 'still at it'"):
        avatar.render(motion("f"))


def test_kills_from_outside_use_up_no_attempt(bench: Bench, told: Told) -> None:
    interpreter = Interpreter()
    avatar = bench.avatar(interpreter, faults={"r": "raises"})
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        os.kill(interpreter.pids[-1], number)
        assert np.array_equal(seeded(avatar, "fine"), expected())
    assert len(interpreter.pids) == 4
    assert all(f"killed from outside ({name})" in why for name, why in zip(
        ("SIGKILL", "SIGTERM", "SIGINT"), told.restarts, strict=True))  # fmt: skip
    assert told.notes == []
    assert len(told.kept) == 1  # of the worker at work


def test_kills_without_end_are_borne_up_to_a_number_and_then_cost_the_frame(
    bench: Bench, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "KILLS", 1)
    avatar = bench.avatar(faults={"k": "killed", "l": "killed"})
    with pytest.raises(
        process.Killed, match=r"\(SIGKILL\) in the middle of render, 2 times in a row: is the memory too small\?"
    ):
        avatar.render(motion("k"))
    with pytest.raises(process.Killed, match="3 times in a row"):  # nothing was finished since: one more try
        avatar.render(motion("l"))
    assert np.array_equal(seeded(avatar, "fine"), expected())
    with pytest.raises(process.Killed, match="2 times in a row"):
        avatar.render(motion("k"))


def test_a_worker_that_is_stopped_takes_along_what_left_its_session(bench: Bench, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    avatar = bench.avatar(timeout=1.0, faults={"f": "parents"}, pids=str(pids))
    with pytest.raises(process.TimedOut):
        avatar.render(motion("f"))
    assert gone(*map(int, pids.read_text().split()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_run_that_started_it(number: signal.Signals, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = HOST.format(root=str(ROOT), pids=str(pids), folder=str(tmp_path))
    host = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not (pids.exists() and pids.read_text().count(" ") == 2) and time.monotonic() < until:
        time.sleep(0.05)
    processes = [int(pid) for pid in pids.read_text().split()]
    assert all(map(alive, processes))
    host.send_signal(number)  # the worker is in C code that holds the interpreter's lock, its children sleep
    host.communicate(timeout=20)
    assert gone(*processes)  # one child is in a session of its own
    if number == signal.SIGINT:
        assert not (tmp_path / "jobs").exists()


def test_twenty_kills_at_random_moments_change_no_picture(bench: Bench, told: Told) -> None:
    names = [str(number) for number in range(30)]
    avatar = bench.avatar(announces=True)
    avatar.announce([motion(name) for name in names])
    calm = [seeded(avatar, name) for name in names]
    found: list[np.ndarray] = []
    killer = Killer(os.getpid(), kills=20, seed=0, progress=lambda: len(found))
    killer.start()
    while killer.is_alive():
        found.append(seeded(avatar, names[len(found) % len(names)]))
    assert killer.done == 20
    assert len(told.restarts) in (19, 20)  # the last one may have come too late to matter
    assert all(np.array_equal(picture, calm[number % len(names)]) for number, picture in enumerate(found))
    assert told.notes == []  # nothing failed
