"""What a spec says of itself: licence, provenance, files, needs, and that importing it costs nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.resources import files

from avatarbench import assets, registry
from avatarbench.conformance.checklist import Row
from avatarbench.errors import AvatarbenchError
from avatarbench.method import MethodSpec

HEAVY = ("torch", "numpy", "scipy", "cv2", "PIL", "mediapipe", "tensorflow", "jax", "numba", "skimage", "pandas", "av")
"""Packages whose import takes a good part of a second: listing methods must not wait for them."""

UNCHOSEN = "not chosen yet"
"""What a scaffold says of its licence, which is its author's to choose."""

_UNSTATED = {"", "unknown", "?", "tbd", "none"}
_IMPORTED = """
import json, sys, time
sys.path[:] = json.loads(sys.argv[1])
begun = time.perf_counter()
for module in sys.argv[3:]:
    __import__(module)
print(json.dumps([sorted({name.partition(".")[0] for name in sys.modules}), time.perf_counter() - begun,
                  sys.argv[2] in sys.modules]))
"""


def spec_rows(spec: MethodSpec) -> Iterator[Row]:
    """One row a rule; imports nothing of the method but its spec."""
    yield from (_licence(spec), _weights(spec), _provenance(spec), _readme(spec), _assets(spec), _ships(spec))
    yield from (_needs(spec), _import_light(spec))


def _row(name: str, problem: str, found: str, todo: str, wrong: str = "fail") -> Row:
    if not problem:
        return Row("spec", name, "pass", found)
    return Row("spec", name, "fail" if wrong == "fail" else "warning", problem, todo)


def _licence(spec: MethodSpec) -> Row:
    problem = "licence_code says nothing" if spec.licence_code.strip().lower() in _UNSTATED else ""
    todo = "name the licence of the code, or write 'no licence file' where its repository has none"
    if spec.licence_code == UNCHOSEN:
        return _row("licence of the code", "not chosen yet", "", "name the licence that you give it", "warning")
    return _row("licence of the code", problem, spec.licence_code, todo)


def _weights(spec: MethodSpec) -> Row:
    """``lpips-vgg16`` and the like are weights as well, but those of a public network: only shipped files decide."""
    problem = ""
    if spec.licence_weights.strip().lower() in _UNSTATED:
        problem = "licence_weights says nothing"
    elif spec.ships and spec.licence_weights == "no weights":
        problem = f"it ships {', '.join(spec.ships)} and says 'no weights'"
    return _row("licence of the weights", problem, spec.licence_weights, "name the licence that the weights are under")


def _provenance(spec: MethodSpec) -> Row:
    where = "; ".join(filter(None, (spec.paper, spec.repository, spec.commit and f"commit {spec.commit}")))
    if not (spec.paper or spec.repository):
        return Row("spec", "paper and repository", "n/a", "names neither: a method of its package's own")
    problem = ""
    if spec.repository and not re.fullmatch(r"[0-9a-f]{40}", spec.commit):
        problem = f"{spec.repository} is not pinned: " + (f"commit '{spec.commit}'" if spec.commit else "no commit")
    todo = "set commit to the 40 digits of the one it was written for, so that two runs can be told apart"
    unpublished = spec.status == "unavailable"
    if problem and unpublished:
        return Row("spec", "paper and repository", "n/a", "no public code that could be pinned")
    return _row("paper and repository", problem, where, todo, "warning")


def _readme(spec: MethodSpec) -> Row:
    if registry.owner("methods", spec.id) != "avatarbench":
        return Row("spec", "README", "n/a", "asked of avatarbench's own methods")
    package = spec_module(spec).rpartition(".")[0]
    there = files(package).joinpath("README.md").is_file()
    return _row("README", "" if there else f"{package} has no README.md", "README.md", "say there what was verified")


def _assets(spec: MethodSpec) -> Row:
    unknown, missing = [], []
    for name in spec.assets:
        if name not in assets.ids():
            unknown.append(name)
            continue
        try:
            if assets.state(name) != "present":
                missing.append(name)
        except AvatarbenchError as error:
            unknown.append(f"{name} ({error})")
    if not spec.assets:
        return Row("spec", "assets", "n/a", "uses none")
    if unknown:
        todo = "name entries of 'avatarbench assets list', or register them in avatarbench.assets"
        return _row("assets", f"not in the catalogue: {', '.join(unknown)}", "", todo)
    todo = f"avatarbench assets pull {' '.join(missing)}"
    problem = f"not here: {', '.join(missing)}" if missing else ""
    return _row("assets", problem, ", ".join(spec.assets), todo, "warning")


def _ships(spec: MethodSpec) -> Row:
    if not spec.ships:
        return Row("spec", "files that ship", "n/a", "names none")
    gone = []
    for name in spec.ships:
        package, _, path = name.partition(":")
        try:
            there = files(package).joinpath(path).is_file()
        except ModuleNotFoundError:
            there = False
        if not there:
            gone.append(name)
    problem = f"not in this installation: {', '.join(gone)}" if gone else ""
    return _row(
        "files that ship", problem, ", ".join(spec.ships), "put them into the package's data, or leave them out"
    )


def _needs(spec: MethodSpec) -> Row:
    protocols = [p for p in registry.everything("protocols") if not isinstance(p, registry.Broken)]
    able = [p.id for p in protocols if set(spec.needs) <= set(p.provides)]
    problem = "" if able else f"no protocol provides all of {', '.join(spec.needs)}"
    todo = "need less and say in 'wants' what is of use where it is there"
    found = f"{', '.join(spec.needs) or 'nothing'}: {len(able)} of {len(protocols)} protocols provide it"
    return _row("needs", problem, found, todo)


def _import_light(spec: MethodSpec) -> Row:
    """Imports the spec's module, and its recipe's, in a new interpreter with this one's path: what came along?"""
    module, factory = spec_module(spec), module_of(spec)
    recipe = [] if spec.environment == "inprocess" else [spec.environment.partition(":")[0]]
    command = [sys.executable, "-c", _IMPORTED, json.dumps(sys.path), factory, module, *recipe]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    name, todo = "import-light spec", "keep the spec in a module of its own that imports avatarbench.method alone"
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return Row("spec", name, "fail", f"{module} does not import by itself: {last[0]}", todo)
    loaded, seconds, early = json.loads(done.stdout.splitlines()[-1])
    heavy = [package for package in HEAVY if package in loaded]
    problem = f"{' or '.join([module, *recipe])} imports {', '.join(heavy)}" if heavy else ""
    if early and factory != module:
        problem = problem or f"{module} imports the method itself, {factory}"
    elif factory and factory == module:
        problem = problem or "the spec and the method are one module"
    return _row(name, problem, f"{module} in {seconds * 1000:.0f} ms", todo)


def module_of(spec: MethodSpec) -> str:
    """The module that holds the method's class."""
    return spec.factory.partition(":")[0]


def spec_module(spec: MethodSpec) -> str:
    """The module that the entry point names."""
    (entry,) = {entry.value: entry for entry in entry_points(group="avatarbench.methods", name=spec.id)}.values()
    return entry.module
