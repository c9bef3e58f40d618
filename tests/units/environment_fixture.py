"""Recipes that build in a second without the network, and programs that stand in for conda, docker and apptainer."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

from avatarbench.isolation.recipe import Recipe

VERSION = ".".join(map(str, sys.version_info[:2]))


def wheel(folder: Path, name: str = "tinypack", version: str = "1.0") -> str:
    """A requirement for a package of one module that is made here: ``tinypack.VERSION``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    contents = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{entry},,\n" for entry in [*contents, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for entry, text in contents.items():
            archive.writestr(entry, text)
    return f"{name} @ {path.as_uri()}"


def tiny(folder: Path, **fields: object) -> Recipe:
    """A venv of our own Python with the tiny package."""
    chosen = {"method": "tiny", "python": VERSION, "packages": (wheel(folder),), **fields}
    return Recipe(**chosen)  # type: ignore[arg-type]


_COMMON = """#!{python} -IS
import json, os, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
with open({record!r}, "a") as stream:
    stream.write(json.dumps([name, *arguments]) + "\\n")

def become(argv, folder):
    argv = [{python!r} if part == "/opt/avatarbench/venv/bin/python" else part for part in argv]
    os.chdir(folder)
    os.execvp(argv[0], argv)
"""

MICROMAMBA = """
if arguments == ["--version"]:
    print("2.0.5")
elif arguments[0] == "create":
    prefix = arguments[arguments.index("--prefix") + 1]
    os.execv({python!r}, [{python!r}, "-m", "venv", "--without-pip", prefix])
"""

DOCKER = """
tags = {record!r} + ".tags"
known = open(tags).read().split() if os.path.exists(tags) else []
if arguments[0] == "info":
    print('["name=seccomp"]' if "SecurityOptions" in arguments[-1] else '{{"ServerVersion": "28.0"}}')
elif arguments == ["buildx", "version"]:
    print("github.com/docker/buildx 0.13.1")
elif arguments[0] == "build":
    open(tags, "a").write(arguments[arguments.index("--tag") + 1] + "\\n")
elif arguments[:2] == ["image", "inspect"]:
    print(1234567)
    sys.exit(arguments[-1] not in known)
elif arguments[:2] == ["image", "rm"]:
    open(tags, "w").write("\\n".join(tag for tag in known if tag != arguments[2]))
elif arguments[0] == "run":
    place = next(number for number, part in enumerate(arguments) if part in known)
    os.environ.update(p.split("=", 1) for q, p in zip(arguments, arguments[1:]) if q == "--env" and "=" in p)
    entry, folder = (arguments[arguments.index(option) + 1] for option in ("--entrypoint", "--workdir"))
    become([entry, *arguments[place + 1:]], folder)
"""

APPTAINER = """
if arguments == ["--version"]:
    print("apptainer version 1.3.4")
elif arguments[0] == "build":
    open(arguments[-2], "w").write("image")
elif arguments[:2] == ["--quiet", "exec"]:
    place = next(number for number, part in enumerate(arguments) if part.endswith("image.sif"))
    prefix = "APPTAINERENV_"
    if prefix + "HOME" in os.environ:
        sys.exit("Overriding HOME environment variable with APPTAINERENV_HOME is not permitted")
    os.environ["HOME"] = arguments[arguments.index("--home") + 1]
    os.environ.update({{k[len(prefix):]: v for k, v in os.environ.items() if k.startswith(prefix)}})
    become(arguments[place + 1:], arguments[arguments.index("--pwd") + 1])
"""


class Programs:
    """Stand-ins in a folder that goes first on PATH; what they were called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._record = folder / "calls"
        folder.mkdir()

    def add(self, name: str, code: str) -> None:
        text = (_COMMON + code).format(python=sys.executable, record=str(self._record))
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def calls(self, *start: str) -> list[list[str]]:
        """Calls that begin with these words, in order."""
        lines = self._record.read_text().splitlines() if self._record.exists() else []
        return [call for call in map(json.loads, lines) if call[: len(start)] == list(start)]
