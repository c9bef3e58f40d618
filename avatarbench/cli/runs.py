"""Finding a run by what a user calls it."""

from __future__ import annotations

from pathlib import Path

from avatarbench.errors import UsageError
from avatarbench.registry import suggest

RUNS = Path("runs")


def find_run(name: str | Path, runs: Path = RUNS) -> Path:
    """The folder of a run: ``name`` itself if it holds a run.json, the id ``name`` under ``runs``, or ``last``.

    ``last`` is the run whose record was written last. Raises UsageError that names the near misses.
    """
    by_age = sorted(runs.glob("*/run.json"), key=lambda p: (p.stat().st_mtime_ns, p.parent.name))
    if str(name) == "last":
        if not by_age:
            raise UsageError(f"there are no runs under {runs}: start one with `avatarbench run`, or name its folder.")
        return by_age[-1].parent
    for folder in (Path(name), runs / name):
        if (folder / "run.json").is_file():
            return folder
    known = [p.parent.name for p in by_age]
    raise UsageError(
        f"no run '{name}': neither a folder that holds a run.json nor an id under {runs}"
        f"{suggest(Path(name).name, known)}"
    )
