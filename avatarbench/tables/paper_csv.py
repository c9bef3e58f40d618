"""CSV of a paper's table: one row a cell of either side, ours in full precision."""

from __future__ import annotations

import csv
import io

from avatarbench.tables.paper import Column, PaperTable
from avatarbench.tables.select import HOME

FIELDS = (
    "paper",
    "table",
    "side",
    "data",
    "task",
    "run",
    "method",
    "metric",
    "beside",
    "better",
    "value",
    "low",
    "high",
    "identities",
    "n_valid",
    "n_total",
    "n_common",
    "mark",
    "reason",
)


def render(table: PaperTable) -> str:
    """One line a cell of either side; ``side`` is published or measured, ``beside`` the paper's metric."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n", restval="")
    writer.writeheader()
    paper, number = table.rows[0].paper, table.rows[0].table
    for v in table.rows:
        of = {"side": "published", "data": v.dataset, "task": v.task, "method": v.method, "metric": v.metric}
        of |= {"beside": v.metric, "better": v.better, "value": v.text}
        writer.writerow({"paper": paper, "table": number} | of)
    for column in table.columns:
        data = column.group.protocol.id if column.group else HOME[column.task]
        for method in table.methods:
            where = {"side": "measured", "data": data, "task": column.task, "method": method, "metric": column.id}
            of = {"beside": column.paper, "better": column.spec.better}
            writer.writerow({"paper": paper, "table": number} | where | of | _cell(column, method))
    return out.getvalue()


def _cell(column: Column, method: str) -> dict[str, object]:
    cell = column.group.cells.get((method, column.id)) if column.group else None
    if cell is None:
        return {"value": "nan", "reason": column.empty or "not run"}
    result, known = cell.result, cell.interval
    spread = {"low": repr(known.low), "high": repr(known.high), "identities": known.identities} if known else {}
    counts = {"n_valid": result.n_valid, "n_total": result.n_total, "n_common": result.n_common}
    own = {"run": cell.run or "", "value": repr(result.value), "mark": cell.mark or "", "reason": result.reason or ""}
    return own | spread | counts
