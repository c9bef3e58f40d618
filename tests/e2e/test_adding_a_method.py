"""docs/adding-a-method.md, followed to the letter: its files are written, its commands run, its output looked for."""

from __future__ import annotations

import os
import re
import shlex
import site
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, Done, call
from tests.started import Server

PAGE = ROOT / "docs" / "adding-a-method.md"


@dataclass(frozen=True)
class Block:
    """A fenced block: ``sh`` is run, ``python`` is a file named in its first line, ``text`` is what was promised."""

    kind: str
    text: str


def blocks() -> list[Block]:
    found = [
        Block(*match) for match in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    ]
    assert {block.kind for block in found} == {"sh", "python", "text"}
    return found


class Walker:
    """Someone who follows the page in an empty folder, with a venv of their own that sees this session's packages."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self._server, self._done = folder / "walk", server, Done([], 0, "", "")
        self.folder.mkdir()
        self._python = folder / "venv" / "bin" / "python"
        # A build apart from the session would fetch setuptools again; pip's variable negates twice.
        self._env = {
            "PIP_NO_BUILD_ISOLATION": "0",
            "AVATARBENCH_ENVIRONMENTS": str(folder / "environments"),
            "COLUMNS": "250",
        }
        self._run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")])
        (self._site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        ours = next(path for path in map(Path, site.getsitepackages()) if (path / "pip").is_dir())
        (self._site / "session.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")

    def follow(self, block: Block) -> None:
        if block.kind == "python":
            name, _, text = block.text.partition("\n")
            path = self.folder / name.removeprefix("# ")
            assert path.is_file(), f"the page edits {path}, which the scaffold does not have"
            path.write_text(text, encoding="utf-8")
        elif block.kind == "sh":
            for line in block.text.splitlines():
                self._run(shlex.split(line))
        else:
            for line in block.text.splitlines():
                self._look_for(line)

    @property
    def output(self) -> str:
        """What the last command printed."""
        return self._done.stdout

    def _run(self, command: list[str]) -> None:
        if command[0] == "avatarbench":
            started = self._server.start(command[1:], self.folder, {**os.environ, **self._env}, [self._site])
            stdout, stderr = started.communicate(300)
            self._done = Done(command, started.returncode or 0, stdout, stderr)
        else:
            program = str(self._python) if command[0] == "python" else command[0]
            self._done = call([program, *command[1:]], self.folder, self._env)
        assert self._done.returncode == 0, f"{shlex.join(command)}\n{self._done.stdout}\n{self._done.stderr}"

    def _look_for(self, line: str) -> None:
        """``...`` stands for anything, and space for any space or rule of a table."""
        words = re.escape(" ".join(line.split())).replace(re.escape("..."), ".*")
        shown = [" ".join(text.split()) for text in self._done.stdout.splitlines()]
        assert any(re.search(words, text) for text in shown), f"not printed: {line}\n" + "\n".join(shown)


@pytest.fixture
def walker(tmp_path: Path, _server: Server) -> Walker:
    return Walker(tmp_path, _server)


def test_the_page_can_be_followed(walker: Walker) -> None:
    for block in blocks():
        walker.follow(block)
    rows = [
        line.split()[-1]
        for line in walker.output.splitlines()
        if re.match(r"\s+Mine( apart)? †\s+[\d.]+$", line.rstrip())
    ]
    assert len(rows) == 2
    assert len(set(rows)) == 1, "the same code gives the same figure in both processes"
