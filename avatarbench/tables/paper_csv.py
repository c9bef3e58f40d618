"""CSV of a paper's table: one row a cell of either side, ours in full precision."""

from __future__ import annotations

import csv
import io

from avatarbench.tables.comparability import comparability
from avatarbench.tables.options import changes
from avatarbench.tables.paper import Column, PaperTable
from avatarbench.tables.published_grid import published_marks

FIELDS = (
    "paper",
    "table",
    "side",
    "data",
    "mark_of_data",
    "task",
    "run",
    "options",
    "method",
    "metric",
    "beside",
    "better",
    "comparability",
    "value",
    "difference",
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
    """One line a cell of either side; ``side`` is published or measured, ``beside`` the paper's metric.

    ``options``: what the run asked for beyond its protocol; ``difference``: measured minus published, where that can be
    said.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n", restval="")
    writer.writeheader()
    head = {"paper": table.layout.paper, "table": table.layout.table}
    marks = published_marks(table.layout, table.rows)
    for v in table.rows:
        of = {"side": "published", "data": v.dataset, "task": v.task, "method": v.method, "metric": v.metric}
        of |= {"beside": v.metric, "better": v.better, "value": v.text, "comparability": comparability(v)}
        writer.writerow(head | of | {"mark": marks.get((v.method, v.task, v.metric), "")})
    asked = {r.record.id: " ".join(changes(r.record)) for r in table.chosen.runs}
    for column in table.columns:
        data = {"data": table.home(column), "mark_of_data": (column.group and column.group.protocol.data) or ""}
        for method in table.methods:
            where = {"side": "measured", "task": column.task, "method": method, "metric": column.id} | data
            of = {"beside": column.paper, "better": column.spec.better, "comparability": column.beside.level}
            found = table.difference(column, method)
            cell = _cell(column, method)
            cell["options"] = asked.get(str(cell.get("run")), "")
            cell["difference"] = "" if found is None else repr(found)
            writer.writerow(head | where | of | cell)
    return out.getvalue()


def _cell(column: Column, method: str) -> dict[str, object]:
    cell = column.cell(method)
    if cell is None:
        return {"value": "nan", "reason": column.empty or "not run"}
    result, known = cell.result, cell.interval
    spread = {"low": repr(known.low), "high": repr(known.high), "identities": known.identities} if known else {}
    counts = {"n_valid": result.n_valid, "n_total": result.n_total, "n_common": result.n_common}
    own = {"run": cell.run or "", "value": repr(result.value), "mark": cell.mark or "", "reason": result.reason or ""}
    return own | spread | counts
