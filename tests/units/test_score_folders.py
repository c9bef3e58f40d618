import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench import cli
from avatarbench.errors import DataError, UsageError
from avatarbench.metrics.scorer import Scorer
from avatarbench.protocol import Task
from avatarbench.run.folders import Request, choose_metrics, read_frames, score_frames
from avatarbench.run.record import RunRecord, read_samples
from avatarbench.tables.build import load_run

COMMAND = ["avatarbench", "score", "my pred", "real"]


def save(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 16), (level, level, level)).save(path)


def request(tmp_path: Path, task: Task = "self", metrics: tuple[str, ...] = ("psnr",)) -> Request:
    return Request(read_frames(tmp_path / "pred"), read_frames(tmp_path / "real"), None, task, "mine", metrics)


def score(tmp_path: Path, asked: Request) -> tuple[Path, RunRecord]:
    return score_frames(asked, tmp_path / "runs", COMMAND, "cpu", 4)


def test_frames_in_a_subfolder_are_paired_by_file_name(tmp_path: Path) -> None:
    for i in range(11):
        save(tmp_path / "real" / "x" / f"frame{i}.png", 10 * i)
        if i != 2:
            save(tmp_path / "pred" / "x" / f"frame{i}.png", 10 * i + 5)
    folder, record = score(tmp_path, request(tmp_path))
    found = {r["sample"]: r for r in read_samples(folder).to_pylist()}
    assert found["frame2"]["reason"] == "no prediction of this name"
    values = {r["value"] for name, r in found.items() if name != "frame2"}
    assert len(values) == 1
    assert values.pop() == pytest.approx(20 * np.log10(255 / 5))
    assert [found[f"frame{i}"]["frame"] for i in range(11)] == list(range(11))
    assert (record.status, record.protocol.size) == ("partial", 24)
    assert record.notes == ["mine: 1 x no prediction of this name (frame2)"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 1)
    save(tmp_path / "a.jpg", 1)
    with pytest.raises(DataError, match="both be frame 'a'"):
        read_frames(tmp_path)


def test_several_sequences_are_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path / "one" / "a.png", 1)
    save(tmp_path / "two" / "a.png", 1)
    with pytest.raises(UsageError, match=r"several sequences \(one, two\)"):
        read_frames(tmp_path)


def test_renamed_references_are_other_references(tmp_path: Path) -> None:
    save(tmp_path / "one" / "a.png", 1)
    save(tmp_path / "two" / "b.png", 1)
    assert read_frames(tmp_path / "one").digest != read_frames(tmp_path / "two").digest


def test_set_metrics_need_real_frames_of_the_person(tmp_path: Path) -> None:
    save(tmp_path / "pred" / "a.png", 1)
    save(tmp_path / "real" / "a.png", 1)
    with pytest.raises(UsageError, match=r"fd-vgg \(needs --task self: .*other people\); psnr \(needs --task self\)"):
        choose_metrics(request(tmp_path, "cross", ("fd-vgg", "psnr")))
    assert {s.against for s in choose_metrics(request(tmp_path, "cross", ()))[0]} == {"driver"}
    assert "fd-vgg" in {s.id for s in choose_metrics(request(tmp_path, "self", ()))[0]}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-28])


def test_an_unreadable_first_reference_costs_its_own_frame(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "pred" / f"{name}.png", 15)
        save(tmp_path / "real" / f"{name}.png", 10)
    truncate(tmp_path / "real" / "a.png")
    folder, record = score(tmp_path, request(tmp_path))
    assert (record.status, record.protocol.size) == ("partial", 24)
    first, second = read_samples(folder).to_pylist()
    assert "truncated" in first["reason"]
    assert second["value"] == pytest.approx(20 * np.log10(255 / 5))
    truncate(tmp_path / "real" / "b.png")
    with pytest.raises(DataError, match=r"none of the 2 frames of .*real can be read.*a\.png"):
        score(tmp_path, request(tmp_path))
    assert list((tmp_path / "runs").iterdir()) == [folder]


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), "interrupted"), (OSError(errno.ENOSPC, "No space left on device"), "failed")],
    ids=["interrupted", "full disk"],
)
def test_what_was_stopped_says_so_and_how_to_repeat_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: str
) -> None:
    save(tmp_path / "pred" / "a.png", 1)
    save(tmp_path / "real" / "a.png", 1)

    def stop(*_: object) -> None:
        raise error

    monkeypatch.setattr(Scorer, "score", stop)
    with pytest.raises(type(error)):
        score(tmp_path, request(tmp_path))
    (folder,) = (tmp_path / "runs").iterdir()
    assert RunRecord.load(folder).status == status
    with pytest.raises(DataError, match=rf"is {status} .*repeat it with: avatarbench score 'my pred' real"):
        load_run(folder)


def test_a_full_disk_does_not_speak_of_resuming_what_cannot_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/run.json")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert "No space left on device: runs/x/run.json. Free some space" in message
    assert "resume" not in message
