"""A method behind a worker: what it does wrong costs what the contract says, with a reason that can be acted on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarbench.errors import AvatarbenchError, Unscorable
from avatarbench.isolation import process, supervisor, wire
from avatarbench.isolation.client import WorkerError
from avatarbench.isolation.method import AnnouncedAvatar, read_inside
from avatarbench.isolation.supervisor import Lost
from avatarbench.method import Motion
from avatarbench.run.render import seed_everything
from tests.isolated import Faulty, Interpreter
from tests.isolated.bench import SIZE, Bench, Told, expected, gone, motion, portrait, seeded

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


def test_the_seed_of_a_frame_is_that_of_the_run(bench: Bench) -> None:
    avatar = bench.avatar()
    avatar.seed(seed_everything(0, "faulty", "a"))
    found = avatar.render(motion("a"))
    seed_everything(0, "faulty", "a")
    assert found[0, 0, 0] == random.randrange(256)
    assert found[0, 0, 1] == np.random.randint(256)
