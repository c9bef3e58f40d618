"""What only a method in an environment of its own can break: the environment, where its code is from, its worker."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from avatarbench import registry
from avatarbench.conformance.bench import Take, render, shape_of
from avatarbench.conformance.checklist import Row
from avatarbench.conformance.material import Scene
from avatarbench.errors import AvatarbenchError, reason_of
from avatarbench.isolation import environments, recipe
from avatarbench.method import Method, MethodSpec, Site
from avatarbench.run.render import METHOD_ERRORS

INPROCESS = "inprocess"


def environment_row(spec: MethodSpec, options: dict[str, Any]) -> Row:
    """The environment is there, or is built here and now."""
    name = "environment"
    if spec.environment == INPROCESS:
        return Row("start", name, "n/a", "runs in avatarbench's process")
    try:
        wanted = recipe.load(spec.environment).using(options.get("backend"))
    except AvatarbenchError as error:
        return Row("start", name, "fail", str(error), "name it package.module:RECIPE")
    if options.get("python") is not None:
        return Row("start", name, "pass", f"the user's own: {options['python']}")
    there = environments.find(wanted)
    prepare = getattr(registry.load(spec.factory), "prepare", None)
    if why := list(prepare(**options)) if prepare and there is None else []:
        return Row("start", name, "fail", "; ".join(why), "see its log: avatarbench env list")
    found = there or environments.find(wanted)
    if found is None:
        return Row("start", name, "fail", f"{wanted.name} was not built", "give the class IsolatedMethod as a base")
    how = f"built with {wanted.backend} in {found.seconds:.0f} s" if there is None else f"was there ({wanted.backend})"
    return Row(
        "start", name, "pass", f"{found.name} {how}: Python {found.python_version}, {len(found.packages)} packages"
    )


def origin_row(spec: MethodSpec, options: dict[str, Any]) -> Row:
    """The checkout and the weights are those that the adapter was written for, or which weights a method of our process
    has."""
    factory: Any = registry.load(spec.factory)
    if not hasattr(factory, "origin"):
        return Row("start", "origin", "n/a", "its code is its package's")
    try:
        origin = factory.origin(**options)
    except AvatarbenchError as error:
        return Row("start", "origin", "fail", str(error), "bring the files that are named")
    if remarks := factory.remarks(origin) if hasattr(factory, "remarks") else []:
        return Row("start", "origin", "warning", "; ".join(remarks), "what is measured with it is said with that")
    if "repository" not in origin:
        held = ", ".join(f"{name} {entry['sha256'][:12]}" for name, entry in origin.get("weights", {}).items())
        return Row("start", "origin", "pass", f"its code is its package's; weights: {held or 'none'}")
    return Row("start", "origin", "pass", f"{origin['repository']} at {origin['commit'] or 'no commit'}")


@contextmanager
def opened(method: Method, say: Callable[[str], None]) -> Iterator[None]:
    """Work in a temporary folder, telling ``say`` what the method says, and end what it started. Raises what it does
    as it is opened."""

    def ignore(text: str) -> None: ...

    with tempfile.TemporaryDirectory() as folder:
        try:
            if hasattr(method, "open"):
                method.open(Site(Path(folder) / "jobs", ignore, ignore, say))
            yield
        finally:
            close(method)


def close(method: Method) -> None:
    """End its worker, if it has one. The next call starts another."""
    if hasattr(method, "close"):
        method.close()


def restart_row(spec: MethodSpec, method: Method, scene: Scene, first: Take) -> Row:
    """Killed between two frames, the worker is started again and the frame is the same."""
    name, motion = "a killed worker", scene.drivers[0]
    if spec.environment == INPROCESS:
        return Row("trouble", name, "n/a", "runs in avatarbench's process")
    again = render(spec, first, motion, shape_of(spec, scene.source))  # brings the worker back to this avatar
    if again.error is not None:
        return Row("trouble", name, "fail", f"no frame to begin with: {reason_of(again.error)}", "see the reason")
    killed = _kill_workers()
    if not killed:
        return Row("trouble", name, "warning", "no worker was found among this process's own", "")
    try:
        after = render(spec, first, motion, shape_of(spec, scene.source))
    except METHOD_ERRORS as error:
        return Row("trouble", name, "fail", f"raised {reason_of(error)}", "see the reason")
    expected = first.image(motion.id)
    if after.image is None or expected is None or not np.array_equal(after.image, expected):
        why = reason_of(after.error) if after.error else after.wrong or "another picture"
        return Row("trouble", name, "fail", f"the frame after it: {why}", "build and render from their arguments alone")
    return Row("trouble", name, "pass", "was started again, built its avatar again and gave the same frame")


def _kill_workers() -> int:
    """SIGKILL to every process below this one that runs a worker; how many there were."""
    count = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, ProcessLookupError):
            if any(Path(part).name == "worker.py" for part in process.cmdline()):
                os.kill(process.pid, signal.SIGKILL)
                count += 1
    return count
