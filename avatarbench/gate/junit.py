"""The verdict as JUnit XML: one test case a metric and method, and one for each condition of comparing at all."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import get_args

from avatarbench.gate.verdict import Kind, Row, Verdict

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to say, escaped or not."""


def render(verdict: Verdict) -> str:
    """One test suite: classes are ``<protocol>`` and ``<protocol>.<method>``."""
    root = ET.Element("testsuites", name="avatarbench check")
    suite = ET.SubElement(root, "testsuite", name=_legal(verdict.protocol))
    properties = ET.SubElement(suite, "properties")
    for name, value in (("run", verdict.run), ("baseline", verdict.path), ("baseline run", verdict.saved)):
        ET.SubElement(properties, "property", name=name, value=_legal(value))
    for kind in get_args(Kind):
        case = ET.SubElement(suite, "testcase", classname=_legal(verdict.protocol), name=kind, time="0")
        told = [f for f in verdict.findings if f.kind == kind]
        if faults := [f.message for f in told if f.fails]:
            _failure(case, kind, "; ".join(faults))
        elif told:
            ET.SubElement(case, "system-out").text = _legal("\n".join(f.message for f in told))
    for row in verdict.rows:
        _case(suite, verdict, row)
    for element in (root, suite):
        element.set("tests", str(len(suite.findall("testcase"))))
        element.set("failures", str(len(suite.findall("testcase/failure"))))
        element.set("errors", "0")
        element.set("skipped", str(len(suite.findall("testcase/skipped"))))
        element.set("time", "0")
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _case(suite: ET.Element, verdict: Verdict, row: Row) -> None:
    classname = _legal(f"{verdict.protocol}.{row.method}")
    case = ET.SubElement(suite, "testcase", classname=classname, name=row.metric.id, time="0")
    if row.fails:
        _failure(case, row.outcome, row.message)
    elif row.outcome == "absent":
        ET.SubElement(case, "skipped", message=_legal(row.message))
    if row.change is not None:
        told = f"baseline {row.text(row.baseline)}, now {row.text(row.now)}, change {row.text(row.change, True)}, "
        told += f"tolerance {row.text(row.tolerance)} {row.between}".rstrip()
        ET.SubElement(case, "system-out").text = _legal(f"{row.outcome}: {told}")


def _failure(case: ET.Element, kind: str, message: str) -> None:
    ET.SubElement(case, "failure", type=kind, message=_legal(message)).text = _legal(message)


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
