"""A new method as a small package that installs, runs and is tested at once. Import-light."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path

from avatarbench import registry
from avatarbench.errors import UsageError

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
LONGEST = 40
SUFFIX = ".template"


def scaffold(name: str, folder: Path, isolated: bool = False) -> list[Path]:
    """Write the package of a method ``name`` into ``folder``, which must not be there; returns its files, sorted.

    Raises UsageError for a name that cannot be a method's or a package's, or is taken, and for a folder that exists;
    OSError where it cannot be written. The folder is there whole or not at all.
    """
    package = package_of(name)
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is there already: choose another name, or another place with --out.")
    words = {
        "@ID@": name,
        "@PACKAGE@": package,
        "@NAME@": re.sub("[-_]", " ", name).capitalize(),
        "@PYTHON@": f"{sys.version_info.major}.{sys.version_info.minor}",
        "@NUMPY@": _numpy(),
    }
    root = files("avatarbench.conformance").joinpath("templates")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for part in ("both", "isolated" if isolated else "inprocess"):
            _write(root.joinpath(part), temporary, words)
        temporary.chmod(0o755)  # mkdtemp's is the user's alone
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return sorted(path for path in folder.rglob("*") if path.is_file())


def package_of(name: str) -> str:
    """The Python package of a new method. Raises UsageError saying what is wrong with the name and what to do."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise UsageError(
            f"'{name}' cannot be a method's name: use lower-case letters and digits, words joined by '-' or '_', at "
            f"most {LONGEST} characters, such as my-method."
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or keyword.issoftkeyword(package) or package in sys.stdlib_module_names:
        raise UsageError(f"'{package}' means something to Python already: choose another name, such as my-{name}.")
    if name in registry.names("methods"):
        owner = registry.owner("methods", name)
        raise UsageError(f"the method '{name}' is registered by {owner}: choose another name, such as my-{name}.")
    if _installed(name, package):
        raise UsageError(
            f"a package '{package}' is installed here, and yours would hide it: choose another name, such as my-{name}."
        )
    return package


def _installed(name: str, package: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        found = find_spec(package)
        return found is not None and found.origin is not None  # a mere folder in the working directory has none
    return True


def _numpy() -> str:
    """One that the isolated method's Python has: another than ours where that is possible, to show that it may be."""
    return "1.26.4" if sys.version_info < (3, 13) else version("numpy")


def _write(source: Traversable, target: Path, words: dict[str, str]) -> None:
    target.mkdir(exist_ok=True)
    for item in source.iterdir():
        name = item.name.replace("PACKAGE", words["@PACKAGE@"]).removesuffix(SUFFIX)
        if item.is_dir():
            _write(item, target / name, words)
        elif item.name.endswith(SUFFIX):
            text = item.read_text(encoding="utf-8")
            for word, meaning in words.items():
                text = text.replace(word, meaning)
            (target / name).write_text(text, encoding="utf-8")
