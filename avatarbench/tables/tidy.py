"""CSV, one row a cell, in full precision: what a notebook reads."""

from __future__ import annotations

import csv
import io

from avatarbench.tables.model import Table

FIELDS = (
    "protocol",
    "protocol_version",
    "manifest",
    "data",
    "size",
    "run",
    "method",
    "method_name",
    "role",
    "metric",
    "metric_version",
    "better",
    "unit",
    "value",
    "own",
    "low",
    "high",
    "identities",
    "n_valid",
    "n_total",
    "n_common",
    "ranked",
    "mark",
    "reason",
    "tracker_is_judge",
    "in_domain",
)


def render(table: Table) -> str:
    """A header and one line a cell; a value that does not exist is ``nan`` and has a reason."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for group in table.groups:
        for row in table.rows:
            method = group.methods.get(row.id)
            for metric in group.metrics:
                cell = group.cells[row.id, metric.id]
                result, known = cell.result, cell.interval
                writer.writerow(
                    {
                        "protocol": group.protocol.id,
                        "protocol_version": group.protocol.version,
                        "manifest": group.protocol.manifest,
                        "data": group.protocol.data or "",
                        "size": group.protocol.size,
                        "run": cell.run or "",
                        "method": row.id,
                        "method_name": row.name,
                        "role": "bound" if row.bound else "method",
                        "metric": metric.id,
                        "metric_version": metric.version,
                        "better": metric.better,
                        "unit": metric.unit,
                        "value": repr(result.value),
                        "own": repr(result.own),
                        "low": repr(known.low) if known else "",
                        "high": repr(known.high) if known else "",
                        "identities": known.identities if known else "",
                        "n_valid": result.n_valid,
                        "n_total": result.n_total,
                        "n_common": result.n_common,
                        "ranked": str(cell.ranked).lower(),
                        "mark": cell.mark or "",
                        "reason": result.reason or "",
                        "tracker_is_judge": str(bool(method and metric.id in method.tracker_is_judge)).lower(),
                        "in_domain": str(bool(method and method.in_domain)).lower(),
                    }
                )
    return out.getvalue()
