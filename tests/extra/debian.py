"""The programs and libraries that tests/extra needs beyond Python, and the Debian packages that bring them.

``python -m tests.extra.debian`` installs what is missing where it may, and otherwise ends with 1 and the list.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

PROGRAMS = {
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "pdflatex": "texlive-latex-base",
    "dockerd": "docker.io",
    "debootstrap": "debootstrap",
}
TEX_FILES = {
    "booktabs.sty": "texlive-latex-recommended",
    "xcolor.sty": "texlive-latex-recommended",
    "graphicx.sty": "texlive-latex-base",
}
LIBRARIES = {"libLLVM": "libllvm19"}
INSTALL = ("apt-get", "install", "--yes", "--no-install-recommends")


def lacking() -> dict[str, str]:
    """Programs, libraries and TeX files that are not here, each with its package."""
    from benchmarks.mitsuba_splats import newest_llvm

    found = {name: package for name, package in PROGRAMS.items() if shutil.which(name) is None}
    found |= LIBRARIES if newest_llvm() is None else {}
    return found | {name: package for name, package in TEX_FILES.items() if not _in_tex(name)}


def _in_tex(name: str) -> bool:
    kpsewhich = shutil.which("kpsewhich")
    return kpsewhich is not None and subprocess.run([kpsewhich, name], capture_output=True, check=False).returncode == 0


def prefix() -> list[str] | None:
    """What to put before apt-get to be allowed to install; None where nothing helps."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "--non-interactive"]
    may = shutil.which("sudo") and subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode == 0
    return sudo if may else None


def install(packages: Sequence[str]) -> None:
    """Try; whether it worked is seen by :func:`lacking`."""
    before = prefix()
    if before is None:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print("installing", *packages, flush=True)
    subprocess.run([*before, "apt-get", "update", "--quiet"], env=environment, stdout=subprocess.DEVNULL, check=False)
    command = [*before, *INSTALL, "--quiet", *packages]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)


def main() -> int:
    if missing := lacking():
        install(sorted(set(missing.values())))
    if not (missing := lacking()):
        return 0
    print("tests/extra needs what is not here and could not be installed:", file=sys.stderr)
    for name, package in missing.items():
        print(f"  {name} (Debian package {package})", file=sys.stderr)
    print(f"install it with: sudo {' '.join([*INSTALL, *sorted(set(missing.values()))])}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
