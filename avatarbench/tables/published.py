"""The papers' own numbers, as they were printed: shown in their own columns, never ranked together with ours."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal, get_args, get_type_hints

from avatarbench.errors import DataError, UnknownNameError
from avatarbench.registry import suggest

Better = Literal["lower", "higher"]
Task = Literal["self", "cross"]


@dataclass(frozen=True)
class PublishedValue:
    """One printed number. ``text`` keeps the paper's digits (``0.20``); ``definition`` is what is known of it."""

    paper: str
    table: str
    dataset: str
    task: Task
    method: str
    metric: str
    better: Better
    text: str
    definition: str

    @property
    def value(self) -> float:
        return float(self.text)

    @property
    def digits(self) -> int:
        """Decimals that the paper prints."""
        return len(self.text.partition(".")[2])


COLUMNS = ("paper", "table", "dataset", "task", "method", "metric", "better", "value", "definition")
CHOICES = {name: get_args(hint) for name, hint in get_type_hints(PublishedValue).items() if get_args(hint)}


def load(path: Traversable | None = None) -> tuple[PublishedValue, ...]:
    """Every row of ``published.csv`` (the installed one by default), in file order.

    Raises DataError with the line number for a wrong header, a missing field, an unknown task or direction, a value
    that is not a finite number, or a number given twice.
    """
    path = path or files("avatarbench.results") / "published" / "published.csv"
    found: dict[tuple[str, ...], int] = {}
    values = []
    with path.open(encoding="utf-8") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            if (header := next(reader, [])) != list(COLUMNS):
                raise DataError(f"{path}, line 1: the columns are {', '.join(header)}; expected {', '.join(COLUMNS)}.")
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                value = _parse(cells, where)
                key = tuple(cells[:6])
                if key in found:
                    raise DataError(f"{where}: {' '.join(key)} was given before, in line {found[key]}.")
                found[key] = reader.line_num
                values.append(value)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}.") from error
    return tuple(values)


def _parse(cells: Sequence[str], where: str) -> PublishedValue:
    if len(cells) != len(COLUMNS):
        raise DataError(f"{where}: {len(cells)} fields, expected {len(COLUMNS)}.")
    row = dict(zip(COLUMNS, cells, strict=True))
    for name, text in row.items():
        if not text or text != text.strip():
            raise DataError(f"{where}: {name} is {text!r}; it must be given, without spaces around it.")
        if name in CHOICES and text not in CHOICES[name]:
            raise DataError(f"{where}: {name} is {text!r}, expected {' or '.join(CHOICES[name])}.")
    try:
        finite = math.isfinite(float(row["value"]))
    except ValueError:
        finite = False
    if not finite:
        raise DataError(f"{where}: value is {row['value']!r}, expected a finite number.")
    row["text"] = row.pop("value")
    return PublishedValue(**{f.name: row[f.name] for f in fields(PublishedValue)})  # type: ignore[arg-type]


def of_table(reference: str, values: Sequence[PublishedValue]) -> list[PublishedValue]:
    """The rows of ``PAPER:TABLE``. Raises UnknownNameError with the near misses."""
    rows = [v for v in values if f"{v.paper}:{v.table}" == reference]
    if not rows:
        known = list(dict.fromkeys(f"{v.paper}:{v.table}" for v in values))
        raise UnknownNameError(f"no published table '{reference}'{suggest(reference, known)}")
    return rows


def definitions(rows: Sequence[PublishedValue]) -> list[str]:
    """What the paper says of each of its metrics, by data set where that differs."""
    notes = []
    for metric in dict.fromkeys(v.metric for v in rows):
        of = dict.fromkeys((v.definition, v.dataset) for v in rows if v.metric == metric)
        if len({d for d, _ in of}) == 1:
            notes.append(f"{metric}: {next(iter(of))[0]}.")
        else:
            notes += [f"{metric}, {dataset}: {definition}." for definition, dataset in of]
    return notes
