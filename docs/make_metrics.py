"""Writes docs/metrics.md from the registered specs: ``python docs/make_metrics.py``. A test keeps the page true."""

from __future__ import annotations

from pathlib import Path

from avatarbench import registry
from avatarbench.metric import MetricSpec

PAGE = Path(__file__).with_name("metrics.md")

HEAD = """# Metrics

Written by `python docs/make_metrics.py` from the specs that the code runs by; `avatarbench show NAME` prints the same
with the state of each weight file. A changed definition takes a new version, and values of different versions never
share a table.

The field has no agreed AKD, AED or APD: landmarkers, reductions and units differ between papers. Ids therefore name the
landmarker or network, and published numbers are never ranked beside ours.
"""


def page() -> str:
    """The whole page."""
    ours = [name for name in registry.names("metrics") if registry.owner("metrics", name) == "avatarbench"]
    return HEAD + "".join(section(registry.metric(name)) for name in ours)


def section(spec: MetricSpec) -> str:
    least = f"one value a set, at least {spec.minimum} frames a side"
    facts = {
        "heading": spec.name,
        "version": spec.version,
        "better": spec.better,
        "unit": spec.unit or "none",
        "range": f"{spec.range[0]:g} to {spec.range[1]:g}",
        "kind": "one value a frame" if spec.kind == "pair" else least,
        "against": spec.against,
        "weights": ", ".join(f"`{a}`" for a in spec.assets) or "none",
    }
    rows = " · ".join(f"{name}: {value}" for name, value in facts.items())
    return f"\n## {spec.id}\n\n{rows}\n\n{spec.definition}\n\nSource: {spec.citation}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
