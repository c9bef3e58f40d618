"""A method behind a worker: what it does wrong costs what the contract says, with a reason that can be acted on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarbench.errors import AvatarbenchError, Unscorable
from avatarbench.isolation import descendants, process, supervisor, wire
from avatarbench.isolation.client import WorkerError
from avatarbench.isolation.method import AnnouncedAvatar, IsolatedAvatar, read_inside
from avatarbench.isolation.supervisor import Lost
from avatarbench.method import Camera, FaceTrack, Motion, Portrait, Site
from avatarbench.run.render import seed_everything
from benchmarks.isolation_kills import Killer
from tests.conftest import ROOT
from tests.isolated import Faulty, Interpreter

SIZE = 64
IMAGE = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
FACE = FaceTrack(np.zeros((478, 3), np.float32), np.zeros(52, np.float32), np.eye(4, dtype=np.float32))
CAMERA = Camera(np.eye(3), np.eye(4), SIZE, SIZE)


class Told:
    """What a method told the run, and its site."""

    def __init__(self, folder: Path) -> None:
        self.notes: list[str] = []
        self.restarts: list[str] = []
        self.said: list[str] = []
        self.site = Site(folder / "jobs" / "faulty", self.notes.append, self.restarts.append, self.said.append)

    @property
    def kept(self) -> list[Path]:
        """The first that was kept comes first."""
        return sorted(
            (path for path in self.site.folder.glob("*") if path.is_dir()), key=lambda p: p.stat().st_ctime_ns
        )


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


class Bench:
    """A method that goes wrong as told, open at a site, and closed in the end."""

    def __init__(self, told: Told) -> None:
        self.told, self.methods = told, []  # type: ignore[var-annotated]

    def method(self, interpreter: Interpreter | None = None, timeout: float = 20.0, **options: Any) -> Faulty:
        method = Faulty(interpreter, **options)
        method.frame_timeout = timeout
        method.open(self.told.site)
        self.methods.append(method)
        return method

    def avatar(self, interpreter: Interpreter | None = None, timeout: float = 20.0, **options: Any) -> IsolatedAvatar:
        return self.method(interpreter, timeout, **options).build(portrait())


@pytest.fixture
def bench(told: Told) -> Iterator[Bench]:
    made = Bench(told)
    yield made
    for method in made.methods:
        method.close()


def portrait(name: str = "p") -> Portrait:
    return Portrait(name, IMAGE, face=FACE, camera=CAMERA)


def motion(name: str, index: int = 3) -> Motion:
    return Motion(name, index, IMAGE, face=FACE, camera=CAMERA)


def seeded(avatar: IsolatedAvatar, name: str, index: int = 3) -> np.ndarray:
    avatar.seed(5)
    return avatar.render(motion(name, index))


def expected(index: int = 3) -> np.ndarray:
    """What the shim draws from the seed, as this process does."""
    random.seed(5)
    np.random.seed(5)
    image = IMAGE.copy()
    image[0, 0] = random.randrange(256), np.random.randint(256), index
    return image


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(*pids: int) -> bool:
    until = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, pids))


def test_a_picture_is_the_one_that_the_same_seeds_give_in_this_process(bench: Bench, told: Told) -> None:
    interpreter = Interpreter()
    method = bench.method(interpreter)
    avatar: Any = method.build(portrait())
    assert avatar.info["gaussians"] == 7
    assert not isinstance(avatar, AnnouncedAvatar)
    assert np.array_equal(seeded(avatar, "a"), expected())
    assert np.array_equal(seeded(avatar, "picture"), expected())
    other = method.build(portrait("q"))  # the same worker, which stays at the last avatar asked for
    assert np.array_equal(seeded(other, "b", 4), expected(4))
    assert np.array_equal(seeded(avatar, "c"), expected())
    assert (method.restarts, told.restarts) == (0, [])
    assert 10 < method.peak_memory_mib < 1000
    (pid,) = interpreter.pids
    method.close()
    assert gone(pid)
    assert not told.site.folder.parent.exists()  # no job folder is left behind
    assert told.notes == []


def test_prints_go_to_the_log_and_stdin_is_empty(bench: Bench, told: Told) -> None:
    avatar = bench.avatar(faults={"print": "prints", "read": "reads", "end": "exits"})
    assert np.array_equal(seeded(avatar, "print"), expected())
    assert avatar.render(motion("read")).max() == 0  # nothing to read, at once
    with pytest.raises(process.Crashed) as caught:
        avatar.render(motion("end"))
    assert "ended with exit code 0 in the middle of render" in str(caught.value)
    log = (told.kept[0] / wire.LOG).read_text()
    assert log.index("to stdout") < log.index("from a child") < log.index("from C")


BAD = {
    "raises": (process.ShimFailed, r"^ValueError: no luck \(faulty_shim.py, line \d+\)$"),
    "leaves": (process.ShimFailed, r"^SystemExit: 4 "),
    "interrupts": (process.ShimFailed, r"^KeyboardInterrupt: by its own code \(faulty_shim.py, line \d+\)$"),
    "exits": (process.Crashed, r"^the worker ended with exit code 0 in the middle of render; its log is empty$"),
    "segfault": (
        process.Crashed,
        r"crashed \(SIGSEGV\) in the middle of render; the log ends: .*in string_at \| .*in segfault",
    ),
    "aborts": (process.Crashed, r"crashed \(SIGABRT\) in the middle of render"),
    "garbles": (process.Garbled, r"the worker sent a header of \d+ bytes \(it begins b'oops'\).*was ended"),
    "malformed": (process.Garbled, r"the worker sent a malformed header \(JSONDecodeError.*'\{not json'; it was ended"),
    "bomb": (process.Garbled, r"a header that announces arrays of 239995200024 bytes"),
    "short": (process.Crashed, r"ended with exit code 0"),
    "outside": (process.ShimFailed, r"the path '/etc/hostname', which is outside of its job folder: it was not read"),
    "linked": (process.ShimFailed, r"the path '\d+.png', which is outside of its job folder"),
    "climbs": (process.ShimFailed, r"cannot be followed: .*No such file|outside of its job folder"),
    "absent": (process.ShimFailed, r"the path 'absent.png', which cannot be followed: .*No such file"),
    "cuda": (process.ShimFailed, r"^RuntimeError: CUDA error"),
    "undecodable": (process.ShimFailed, r"^ValueError: no \\udcff\.png"),  # written out, as no file of a run holds it
}
RESTARTED = {"exits", "segfault", "aborts", "garbles", "malformed", "bomb", "short", "cuda"}


def test_what_goes_wrong_once_is_done_again_and_gives_the_same_picture(
    bench: Bench, told: Told, tmp_path: Path
) -> None:
    faults = {name: name for name in ("raises", "segfault", "garbles")}
    avatar = bench.avatar(faults=faults, once=str(tmp_path / "mark"))
    for restarts, fault in enumerate(faults):  # an exception needs no other worker
        assert np.array_equal(seeded(avatar, fault), expected())
        assert len(told.restarts) == restarts
        assert avatar.lost_seconds > 0
    assert np.array_equal(seeded(avatar, "fine"), expected())
    assert avatar.lost_seconds < 0.1


def test_what_goes_wrong_twice_costs_its_frame_alone_with_the_reason(bench: Bench, told: Told) -> None:
    avatar = bench.avatar(faults={name: name for name in BAD})
    for name, (kind, why) in BAD.items():
        with pytest.raises(kind, match=why):
            avatar.render(motion(name))
    assert np.array_equal(seeded(avatar, "fine"), expected())
    assert len(told.restarts) == 2 * len(RESTARTED)
    bench.methods[0].close()
    assert len(told.kept) == supervisor.KEPT  # the first ones: frames that fail in plenty fill no disk
    assert {note.rpartition(" ")[2] for note in told.notes} == {str(path) for path in told.kept}


def test_a_motion_that_cannot_be_followed_is_not_tried_again(bench: Bench, told: Told) -> None:
    why = {
        "faceless": "^no face found in it$",
        "text": r"render\(\) returned list, not a numpy array",
        "objects": r"render\(\) returned what cannot be sent: an array of dtype object",
    }
    avatar = bench.avatar(faults={fault: fault for fault in why})
    for fault, reason in why.items():
        with pytest.raises(Unscorable, match=reason):
            avatar.render(motion(fault))
    assert told.restarts == []


def test_what_is_no_picture_of_the_right_form_reaches_the_check_that_says_so(bench: Bench) -> None:
    avatar = bench.avatar(faults={"s": "smaller", "u": "undefined"})
    assert avatar.render(motion("s")).shape == (SIZE - 1, SIZE, 3)
    assert np.isnan(avatar.render(motion("u"))).all()


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


class Client(Interpreter):
    """The worker is the child of a client that takes something away once it has ended, as apptainer unmounts."""

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
        process = super().start(client, job=job, read_only=read_only, variables=others, network=network)
        process.tidies = True  # type: ignore[attr-defined]
        return process


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


def test_what_is_no_plain_file_of_a_picture_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait without end
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png"):
        with pytest.raises(process.ShimFailed, match=f"the path '{name}', which is no file"):
            read_inside(tmp_path, name)
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(wire.ARRAYS_LIMIT + 1)
    with pytest.raises(process.ShimFailed, match="a file of 536870913 bytes, where 536870912 are allowed"):
        read_inside(tmp_path, "large.png")


def test_a_flood_of_messages_neither_blocks_the_worker_nor_fills_the_disk(bench: Bench, told: Told) -> None:
    avatar = bench.avatar(faults={"f": "floods", "e": "exits"})
    assert np.array_equal(seeded(avatar, "f"), expected())  # 20 MB of it
    with pytest.raises(process.Crashed, match="ended with exit code 0"):
        avatar.render(motion("e"))
    sizes = [sum(path.stat().st_size for path in folder.glob(f"{wire.LOG}*")) for folder in told.kept]
    assert max(sizes) < 2 * wire.LOG_LIMIT + (1 << 17)
    flooded = told.kept[sizes.index(max(sizes))]
    assert (flooded / wire.LOG).read_text().endswith("x\nthe last line\n")


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


def test_a_build_that_fails_twice_costs_the_portrait_alone(bench: Bench) -> None:
    method = bench.method(faults={"bad": "segfault"})
    with pytest.raises(process.Crashed, match="in the middle of build"):
        method.build(portrait("bad"))
    assert np.array_equal(seeded(method.build(portrait()), "fine"), expected())


def test_an_avatar_that_cannot_be_built_again_is_lost_with_the_frames_that_are_left(
    bench: Bench, told: Told, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    interpreter = Interpreter()
    avatar = bench.avatar(interpreter, faults={"p": "raises"}, gate=str(gate))
    gate.touch()
    os.kill(interpreter.pids[-1], signal.SIGKILL)
    with pytest.raises(Lost, match="could not be built again after a restart: ValueError: no luck"):
        avatar.render(motion("fine"))
    restarts = len(told.restarts)
    with pytest.raises(Lost):
        avatar.render(motion("other"))
    assert len(told.restarts) == restarts


def test_announced_frames_are_announced_again_to_a_worker_that_was_started_again(bench: Bench) -> None:
    interpreter = Interpreter()
    avatar = bench.avatar(interpreter, announces=True)
    assert isinstance(avatar, AnnouncedAvatar)
    avatar.announce([motion(name) for name in "abc"])
    assert avatar.render(motion("b"))[0, 1].tolist() == [1] * 3
    os.kill(interpreter.pids[-1], signal.SIGKILL)
    assert avatar.render(motion("c"))[0, 1].tolist() == [2] * 3


class Pictures(Sequence[Motion]):
    """Motions of 512 pixels that are made when asked for. ``most``: of those so many at a time were held by anybody."""

    def __init__(self, count: int) -> None:
        self.count, self.most = count, 0
        self.held: weakref.WeakValueDictionary[int, Motion] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.count:
            raise IndexError(index)
        made = Motion(str(index), index, np.full((512, 512, 3), index, np.uint8))
        self.held[id(made)] = made
        self.most = max(self.most, len(self.held))
        return made


def test_announced_pictures_fill_neither_the_harness_nor_the_worker(bench: Bench) -> None:
    interpreter = Interpreter()
    method = bench.method(interpreter, announces=True)
    avatar: Any = method.build(portrait())
    motions = Pictures(120)
    for _ in range(2):
        avatar.announce(motions)
        assert motions.most <= 2
        assert method.peak_memory_mib < 90  # they are of 90 MiB, beside 30 that Python and numpy take
        for name in ("0", "119"):
            assert avatar.render(motion(name))[0, 2].tolist() == [int(name)] * 3
        os.kill(interpreter.pids[-1], signal.SIGKILL)
    assert avatar.render(motion("7"))[0, 2].tolist() == [7] * 3  # told again of each
    assert motions.most <= 2


def test_a_sequence_that_cannot_be_prepared_is_tried_twice(bench: Bench, tmp_path: Path) -> None:
    avatar = bench.avatar(announces=True, faults={"announce": "segfault"}, once=str(tmp_path / "mark"))
    avatar.announce([motion("a")])
    assert avatar.render(motion("a"))[0, 1].tolist() == [0] * 3
    avatar = bench.avatar(announces=True, faults={"announce": "raises"})
    with pytest.raises(process.ShimFailed, match="no luck"):
        avatar.announce([motion("a")])


def test_a_method_that_never_starts_says_why_and_is_not_started_for_every_portrait(bench: Bench) -> None:
    interpreter = Interpreter()
    method = bench.method(interpreter, start="raise")
    for _ in range(3):
        with pytest.raises(process.ShimFailed, match=r"^RuntimeError: no such weights \(faulty_shim.py"):
            method.build(portrait())
    assert len(interpreter.pids) == 2


def test_a_python_without_numpy_says_so(bench: Bench, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    with pytest.raises(WorkerError, match="No module named 'numpy'"):
        bench.avatar(Interpreter(str(bare / "bin" / "python")))


def test_an_environment_that_cannot_be_had_is_told_once(bench: Bench) -> None:
    method = Faulty()
    asked = []

    def environment() -> Interpreter:
        asked.append(1)
        raise AvatarbenchError("no Python 3.8 here")

    method._supervisor._environment = environment
    for _ in range(2):
        with pytest.raises(AvatarbenchError, match=r"no Python 3.8 here"):
            method.build(portrait())
    assert asked == [1]


def test_a_worker_that_is_stopped_takes_along_what_left_its_session(bench: Bench, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    avatar = bench.avatar(timeout=1.0, faults={"f": "parents"}, pids=str(pids))
    with pytest.raises(process.TimedOut):
        avatar.render(motion("f"))
    assert gone(*map(int, pids.read_text().split()))


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


def test_the_seed_of_a_frame_is_that_of_the_run(bench: Bench) -> None:
    avatar = bench.avatar()
    avatar.seed(seed_everything(0, "faulty", "a"))
    found = avatar.render(motion("a"))
    seed_everything(0, "faulty", "a")
    assert found[0, 0, 0] == random.randrange(256)
    assert found[0, 0, 1] == np.random.randint(256)


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
