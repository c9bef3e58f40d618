"""``avatarbench doctor``: what this machine has, what it lacks, and the fix for each."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, PIPE

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from avatarbench import assets
from avatarbench.cli.inventory import users
from avatarbench.cli.output import stdout_console
from avatarbench.errors import AssetError

DEMO_ASSETS = ("face-landmarker", "lpips-alexnet", "lpips-vgg16", "dlib-face", "driving-clip")
ROOM_BYTES = 2 * 10**9
PROBE_SECONDS = 180

_DEBIAN = {
    "libEGL.so.1": "libegl1",
    "libGLESv2.so.2": "libgles2",
    "libGL.so.1": "libgl1",
    "libgomp.so.1": "libgomp1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxcb.so.1": "libxcb1",
}


@dataclass(frozen=True)
class Check:
    """One row: ``needed`` checks decide the exit code, the others only say what will not be available."""

    name: str
    ok: bool
    found: str
    fix: str = ""
    needed: bool = True


@dataclass(frozen=True)
class Probe:
    """Code that imports and uses a package, then binds ``found``. It runs in another interpreter than this one."""

    name: str
    module: str
    code: str
    fix: str
    needed: bool = True


PROBES = (
    Probe(
        "torch",
        "torch",
        "import torch\n"
        "cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no CUDA device, runs on the CPU'\n"
        "found = f'{torch.__version__}, {cuda}'",
        "run: make setup",
    ),
    Probe(
        "torchvision",
        "torchvision",
        "import torch, torchvision\n"
        "torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)\n"
        "found = f'{torchvision.__version__} beside torch {torch.__version__}'",
        "torch and torchvision must come from the same build: run make setup, which takes both from one lock file",
    ),
    Probe(
        "ffmpeg (inside PyAV)",
        "av",
        "import av\nhave = sorted({'h264', 'hevc', 'mpeg4', 'vp9'} & av.codecs_available)\n"
        "if 'h264' not in have: raise ImportError('this build of PyAV decodes no h264')\n"
        "codec = '.'.join(map(str, av.library_versions['libavcodec']))\n"
        "found = f'PyAV {av.__version__}, libavcodec {codec}, decodes ' + ' '.join(have)",
        "pip install --force-reinstall av",
    ),
    Probe(
        "mediapipe",
        "mediapipe",
        "import numpy, mediapipe\n"
        "mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=numpy.zeros((8, 8, 3), numpy.uint8))\n"
        "found = mediapipe.__version__",
        "pip install mediapipe",
    ),
    Probe("dlib", "dlib", "import dlib\nfound = dlib.__version__", "pip install dlib-bin"),
    Probe(
        "lpips",
        "lpips",
        "import lpips, importlib.metadata\nfound = importlib.metadata.version('lpips')",
        "pip install lpips",
    ),
    Probe(
        "open_clip",
        "open_clip",
        "import open_clip\nfound = open_clip.__version__",
        "pip install open-clip-torch (for the metric clip)",
        needed=False,
    ),
    Probe(
        "onnxruntime",
        "onnxruntime",
        "import onnxruntime\nfound = ' '.join([onnxruntime.__version__, *onnxruntime.get_available_providers()])",
        "pip install onnxruntime (for the metric csim-arcface)",
        needed=False,
    ),
)

# Runs in the probing interpreter: the probes' code as JSON on stdin, a line of JSON on stdout for each that ended. What
# the packages themselves print goes to stderr.
_PROBER = """
import json, os, sys
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for code in json.load(sys.stdin):
    names = {}
    try:
        exec(code, names)
        line = {"found": names["found"]}
    except Exception as error:
        line = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(line), file=out, flush=True)
out.close()
os._exit(0)
"""


def run_probes(probes: Sequence[Probe], seconds: float = PROBE_SECONDS) -> Iterator[Check]:
    """Run the probes in another interpreter, one for all of them: importing torch once is most of the cost.

    A library that crashes, or hangs past ``seconds``, ends that interpreter; the probes after it go on in a new one.
    """
    left = list(probes)
    while left:
        lines, crash = _probe_until_crash(left, seconds)
        for probe, line in zip(left, lines, strict=False):
            yield _check(probe, line)
        left = left[len(lines) :]
        if left:
            yield Check(left[0].name, False, crash, left[0].fix, left[0].needed)
            left = left[1:]


def _probe_until_crash(probes: list[Probe], seconds: float) -> tuple[list[dict[str, str]], str]:
    """What the probes answered, in order, and what ended the interpreter before the first that did not answer."""
    command = [sys.executable, "-c", _PROBER]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True) as process:
        try:
            answers, _ = process.communicate(json.dumps([probe.code for probe in probes]), seconds)
            code = process.returncode
            crash = f"crashed with signal {-code}" if code < 0 else f"ended the interpreter with exit code {code}"
        except subprocess.TimeoutExpired:
            process.kill()
            answers, _ = process.communicate()
            crash = f"no answer in {seconds:.0f} s"
    return [json.loads(line) for line in answers.splitlines()], crash


def _check(probe: Probe, line: dict[str, str]) -> Check:
    if "found" in line:
        return Check(probe.name, True, line["found"], needed=probe.needed)
    if find_spec(probe.module) is None:
        return Check(probe.name, False, "not installed", probe.fix, probe.needed)
    return Check(probe.name, False, line["error"], library_fix(line["error"]) or probe.fix, probe.needed)


def library_fix(error: str) -> str | None:
    """The command that installs the shared library a loader's message names, or None where it names none."""
    match = re.search(r"(lib[\w.+-]+?\.so[.\d]*): cannot open shared object file", error)
    if match is None:
        return None
    library = match[1]
    package = _DEBIAN.get(library)
    if package is None:
        return f"install the system library {library}"
    return f"apt-get install {package} (or your system's package of {library})"


def check_python() -> Check:
    found = f"{platform.python_version()} on {platform.platform()}"
    return Check("Python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer and run make setup")


def check_pip() -> Check:
    """pip fetches the assets that live inside registry packages; an environment made by uv may lack it."""
    return Check("pip", find_spec("pip") is not None, sys.executable, f"{sys.executable} -m ensurepip")


def nearest_folder(path: Path) -> Path:
    """The path itself or its nearest ancestor that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def check_room(name: str, folder: Path) -> Check:
    free = shutil.disk_usage(nearest_folder(folder)).free
    fix = f"free {ROOM_BYTES / 1e9:.0f} GB there, or choose another disk (AVATARBENCH_CACHE; --out for runs)"
    return Check(f"room for {name}", free >= ROOM_BYTES, f"{free / 1e9:.1f} GB free at {folder}", fix)


def check_cache(root: Path) -> Check:
    where = nearest_folder(root)
    fix = f"chown or chmod {where}, or set AVATARBENCH_CACHE to a folder you may write to"
    return Check("cache may be written", os.access(where, os.W_OK | os.X_OK), str(root), fix)


def check_feature_cache() -> Check:
    from avatarbench.metrics.cache import FILE_NAME  # numpy, which listing commands do without

    chosen = os.environ.get("AVATARBENCH_FEATURES")
    path = Path(chosen).expanduser() if chosen else assets.cache_root() / FILE_NAME
    size = f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else "empty"
    return Check("feature cache", True, f"{size} ({path})", needed=False)


def check_asset(id: str) -> Check:
    """A file in the local folders or the cache whose hash is right, or the command that brings it."""
    needed = id in DEMO_ASSETS
    try:
        found = assets.state(id)
        if found == "present":
            return Check(f"asset {id}", True, str(assets.path(id)), needed=needed)
        why = "wrong hash" if found == "corrupt" else "missing"
    except AssetError as error:
        why = str(error)
    return Check(
        f"asset {id}", False, f"{why} ({', '.join(users(id)) or 'tests'})", f"avatarbench assets pull {id}", needed
    )


def check_environments() -> Iterator[Check]:
    """Of each backend that methods with an environment of their own can have: whether it works, and why not."""
    from avatarbench.isolation import listing, sandbox  # asks docker's daemon, which listing commands do not

    for report in listing.backends():
        name, found = f"environments in {report.name}", report.version or "not here"
        yield Check(name, not report.lacks, found, "; ".join(report.lacks), needed=False)
    able = sandbox.powers()
    why = "; ".join(f"{what}: {lack}" for what, lack in (("network", able.network), ("files", able.mounts)) if lack)
    found = why or "their network can be cut off, and files made read-only"
    fix = "use docker or apptainer, or allow user namespaces (sysctl kernel.unprivileged_userns_clone or AppArmor's)"
    yield Check("environments shut in", not why, found, fix, needed=False)


def examine() -> Iterator[Check]:
    """Every check, in the order of the table."""
    root = assets.cache_root()
    yield from (check_python(), check_pip())
    yield from run_probes(PROBES)
    yield from (check_cache(root), check_room("the cache", root), check_room("runs", Path("runs").absolute()))
    yield check_feature_cache()
    yield from check_environments()
    yield from map(check_asset, assets.ids())


def doctor(
    as_json: bool = typer.Option(False, "--json", help="Print the checks as JSON instead of a table."),
) -> None:
    """Check this machine: Python, torch, video, each optional part, each asset, with the fix for what is missing.

    Exits with 0 when everything that `make demo` needs is here, else with 1. Example: avatarbench doctor
    """
    if as_json:
        checks = list(examine())
        typer.echo(json.dumps([vars(check) for check in checks], indent=2))
    else:
        with Console(stderr=True).status("examining this machine ...") as status:
            checks = []
            for check in examine():
                checks.append(check)
                status.update(f"examining this machine: {check.name} done ...")
        _print(checks)
    if any(check.needed and not check.ok for check in checks):
        raise typer.Exit(1)


def _print(checks: list[Check]) -> None:
    console = stdout_console()
    table = Table(title="avatarbench doctor", title_justify="left")
    for column in ("", "what", "found", "fix"):
        table.add_column(column, overflow="fold")
    for check in checks:
        mark = Text("✓", "green") if check.ok else Text("✗", "red" if check.needed else "yellow")
        name = check.name if check.needed or check.ok else f"{check.name} (optional)"
        table.add_row(mark, Text(name), Text(check.found), Text("" if check.ok else check.fix))
    console.print(table)
    lacking = [check for check in checks if check.needed and not check.ok]
    if not lacking:
        console.print("Everything that `make demo` needs is here.")
        return
    console.print(f"`make demo` still needs: {', '.join(check.name for check in lacking)}.", highlight=False)
    ids = [check.name.removeprefix("asset ") for check in lacking if check.name.startswith("asset ")]
    if ids:
        console.print(f"Fetch all of its assets with: avatarbench assets pull {' '.join(ids)}", soft_wrap=True)
