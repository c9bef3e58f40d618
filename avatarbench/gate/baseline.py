"""The baseline file: what a run scored, a value a sample, with all that has to be equal for values to compare."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avatarbench.errors import UsageError
from avatarbench.files import writing
from avatarbench.protocol import Task
from avatarbench.statistics import Value

FORMAT = 1
EVERY = "*"
"""In ``tolerances``: every method."""
COVERAGE = "coverage"
"""In ``tolerances``: which part of the samples may lose its value (0.01: one in a hundred). Default: none."""
UNSEALED = ("digest", "tolerances")
"""What a person may edit: the digest covers everything else."""


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ProtocolPart(Part):
    """Equal fields are the condition for values to compare."""

    id: str
    version: int
    task: Task
    size: int
    manifest: str = Field(description="sha256 of the resolved pairs, image contract and input files")
    image: dict[str, Any] = Field({}, description="the image contract; empty for frames of a user's own")
    files: dict[str, str] = Field({}, description="dataset/sequence -> start of the sha256 of the file that holds it")
    data: str | None = Field(None, description="what the data folder's own mark says it holds, e.g. openheads")


class MethodPart(Part):
    id: str
    name: str
    options: dict[str, Any] = {}
    spec: dict[str, Any] = Field({}, description="what makes it another method: factory, repository, commit")
    unavailable: str | None = None


class MetricPart(Part):
    id: str
    name: str
    version: int
    kind: Literal["pair", "set"]
    better: Literal["lower", "higher"]
    unit: str
    digits: int
    assets: dict[str, str] = {}
    unavailable: str | None = None
    reference_frames: int | None = None


class Column(Part):
    """A pair metric of a method: a value a sample in the order of ``samples``; None where it had none, and why."""

    values: list[float | None]
    reasons: dict[str, list[int]] = Field({}, description="why -> positions of the samples without a value")


class SetValue(Part):
    """A set metric of a method over the ``n`` predictions that it has."""

    value: float | None
    n: int
    reason: str | None = None


class Spread(Part):
    """The largest difference of two re-runs: of the mean, and of the number of samples that have a value."""

    mean: float = 0.0
    valid: int = 0


class EnvironmentPart(Part):
    """What the baseline was measured on: told where it differs, never a reason to fail."""

    python: str
    platform: str
    packages: dict[str, str]
    git_commit: str | None
    cpu: str
    gpu: str | None


class Baseline(Part):
    """``results/baselines/X.json``. ``digest`` is the sha256 of all but :data:`UNSEALED`."""

    format: int = FORMAT
    digest: str = ""
    tolerances: dict[str, dict[str, float]] = Field(
        {}, description='method id or "*" -> metric id or "coverage" -> what is allowed; wins over the defaults'
    )
    run: str
    created: datetime
    command: list[str]
    seed: int
    reruns: list[str] = Field([], description="ids of the runs that ``spread`` was measured on, beside ``run``")
    protocol: ProtocolPart
    environment: EnvironmentPart
    methods: list[MethodPart]
    metrics: list[MetricPart]
    identities: list[str] = Field(description="whom the samples are of: a bootstrap draws these")
    samples: dict[str, int] = Field(description="sample id -> position of its identity, in the order of the columns")
    values: dict[str, dict[str, Column]] = Field({}, description="method id -> pair metric id")
    sets: dict[str, dict[str, SetValue]] = Field({}, description="method id -> set metric id")
    spread: dict[str, dict[str, Spread]] = Field({}, description="method id -> metric id; from re-runs")

    def column(self, method: str, metric: str) -> dict[str, Value] | None:
        """Sample id -> value; None where the baseline has no such column."""
        column = self.values.get(method, {}).get(metric)
        if column is None:
            return None
        why = {at: reason for reason, places in column.reasons.items() for at in places}
        return {
            sample: Value(math.nan if value is None else value, why.get(at))
            for at, (sample, value) in enumerate(zip(self.samples, column.values, strict=True))
        }

    def sources(self) -> dict[str, str]:
        """Sample id -> identity."""
        return {sample: self.identities[at] for sample, at in self.samples.items()}


def seal(content: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of what may not be edited.

    Of the file's content, not of :class:`Baseline`: a later version with more fields must find the same digest.
    """
    sealed = {key: value for key, value in content.items() if key not in UNSEALED}
    text = json.dumps(sealed, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def save(baseline: Baseline, path: Path) -> None:
    """Write atomically, sealed; one line a column, so that a diff of two baselines can be read."""
    content = baseline.model_dump(mode="json")
    content["digest"] = seal(content)
    with writing(path) as temporary:
        temporary.write_text(_text(content) + "\n", encoding="utf-8")


def load(path: Path) -> Baseline:
    """Read a baseline. Raises UsageError where it is missing, malformed, of a newer format, or edited by hand."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read the baseline {path} ({error.strerror}). Make one with: "
            f"avatarbench baseline save RUN -o {path}"
        ) from error
    except ValueError as error:  # neither UTF-8 nor JSON
        raise UsageError(f"{path} is not a baseline: {error}. {_remedy(path)}") from error
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise UsageError(f"{path} is not a baseline: it has no format number. {_remedy(path)}")
    if content["format"] > FORMAT:
        raise UsageError(
            f"{path} has baseline format {content['format']}, this avatarbench reads up to {FORMAT}: upgrade."
        )
    try:
        baseline = Baseline.model_validate(content)
        found = seal(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path} is not a valid baseline: {where}: {first['msg']}. {_remedy(path)}") from error
    if baseline.digest != found:
        raise UsageError(
            f"{path} was edited after it was saved: its content has the digest {found[:12]}, and it says "
            f"{baseline.digest[:12] or 'none'}. Only 'tolerances' may be edited. {_remedy(path)}"
        )
    lengths = {len(c.values) for columns in baseline.values.values() for c in columns.values()}
    if lengths - {len(baseline.samples)} or any(at >= len(baseline.identities) for at in baseline.samples.values()):
        raise UsageError(f"{path} is not a valid baseline: columns and samples differ in length. {_remedy(path)}")
    require_tolerances(baseline, path)
    return baseline


def require_tolerances(baseline: Baseline, path: Path) -> None:
    """Raises UsageError for a tolerance that is negative or of nothing that the baseline holds."""
    methods = {EVERY, *(m.id for m in baseline.methods)}
    metrics = {COVERAGE, *(m.id for m in baseline.metrics)}
    for method, allowed in baseline.tolerances.items():
        for metric, value in allowed.items():
            if method not in methods or metric not in metrics or value < 0:
                raise UsageError(
                    f"{path}: the tolerance {value:g} of '{metric}' for '{method}' is negative, or of no method or "
                    f"metric here. Methods: {', '.join(sorted(methods))}. Metrics: {', '.join(sorted(metrics))}."
                )


def _remedy(path: Path) -> str:
    return f"Restore the file, or save it anew with: avatarbench baseline save RUN -o {path} --update"


def rounded(value: float) -> float | None:
    """Seven significant digits, far below any tolerance; None for what is not finite."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _text(value: Any, depth: int = 0) -> str:
    """JSON with the outer three levels of objects spread over lines."""
    if isinstance(value, Mapping) and value and depth < 3:
        pad = " " * (depth + 1)
        lines = (f"{pad}{json.dumps(k, ensure_ascii=False)}: {_text(v, depth + 1)}" for k, v in value.items())
        return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        pad = " " * (depth + 1)
        return "[\n" + ",\n".join(pad + _text(v, 3) for v in value) + "\n" + " " * depth + "]"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
