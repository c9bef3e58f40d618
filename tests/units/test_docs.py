"""The documentation says what the code does."""

from __future__ import annotations

import re
import runpy

from avatarbench import registry
from tests.conftest import ROOT


def test_metrics_page_is_what_the_specs_say() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_metrics.py"))["page"]()
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == page, "run: python docs/make_metrics.py"


def test_relative_links_lead_to_files() -> None:
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "methods").glob("*/README.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_commands_of_the_readme_name_what_is_registered() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    known = {name for kind in registry.GROUPS for name in registry.names(kind)}
    named = re.findall(r"(?:-m|-p) ([\w-]+)", text) + re.findall(r"avatarbench show ([\w-]+)", text)
    assert named
    assert set(named) - {"NAME"} <= known


def test_the_readme_shows_the_demo_table_whole() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for protocol in ("openheads-self", "openheads-cross", "openheads-cross-gt", "portrait-cross"):
        part = text.split(f"**{protocol} (N = ", 1)[1].split("| **", 1)[0]
        shown = re.findall(r"^\| ([^|]+?) [↓↑]", part, flags=re.MULTILINE)
        assert set(shown) == {registry.metric(name).name for name in registry.protocol(protocol).metrics}
