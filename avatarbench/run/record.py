"""``run.json`` and ``samples.parquet``: the typed, versioned record that every table is made from."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avatarbench.errors import DataError
from avatarbench.files import writing

SCHEMA_VERSION = 1
RunStatus = Literal["running", "complete", "partial", "interrupted", "failed"]

SAMPLES = pa.schema(
    [
        pa.field("protocol", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("sample", pa.string(), nullable=False),  # Pair.id
        pa.field("source", pa.string(), nullable=False),  # source sequence: the identity
        pa.field("driver", pa.string(), nullable=False),  # driver sequence
        pa.field("frame", pa.int64(), nullable=False),  # index in the driver sequence
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),  # NaN where there is none
        pa.field("reason", pa.string()),  # why the value is NaN
        pa.field("note", pa.string()),  # what a reader should know of a valid value ("2 faces, largest taken")
    ]
)
"""One row a sample, method and pair metric."""


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")


class ProtocolRecord(Model):
    """The protocol as it was resolved. Runs compare only where id, version and manifest are equal."""

    id: str
    version: int
    name: str
    task: Literal["self", "cross"]
    manifest: str = Field(description="sha256 of the resolved pairs, image contract and input files")
    pairs: int
    size: int
    spec: dict[str, Any]
    manifest_from: Literal["", "local"] = Field(
        "", description="local: a rule and a seed ship, and the pairs were resolved on data that does not"
    )
    data: str | None = Field(None, description="what a data folder's own mark says it holds, e.g. openheads")
    altered: int = Field(0, description="sequences whose files are not those that the manifest was resolved on")
    background: Literal["", "kept", "white", "black"] = Field(
        "", description="what is behind people in the run's pictures; empty in records that do not say it"
    )

    @property
    def own_background(self) -> str:
        """What the protocol asks for; empty where a record does not say it."""
        return str((self.spec.get("image") or {}).get("background", ""))


class MethodRecord(Model):
    id: str
    name: str
    role: Literal["method", "bound"]
    spec: dict[str, Any]
    options: dict[str, Any] = {}
    unavailable: str | None = Field(None, description="why the method did not run: a capability or an asset it lacks")
    reads: list[str] = Field([], description="what the run filled in: its needs, and the wants that the data had")
    avatars: int = 0
    frames: int = 0
    failures: int = Field(0, description="frames or avatars that raised or broke the image contract")
    build_seconds: float | None = Field(None, description="mean a portrait")
    fps: float | None = Field(None, description="frames rendered a second of render() time")
    peak_memory_mib: float | None = Field(
        None, description="highest resident memory of the process while it built and rendered, sampled"
    )
    gaussians: float | None = Field(None, description="mean number of Gaussians an avatar, where it has any")
    tracker_is_judge: list[str] = Field([], description="metrics whose detector also drove this method")
    in_domain: bool = Field(False, description="trained on this dataset's family")
    stand_in: bool = Field(False, description="what ran only stands in for the method: it has no row in any table")
    origin: dict[str, Any] = Field(
        {}, description="what ran: its weights' hashes, and of official code the checkout and commit"
    )
    isolation: dict[str, Any] = Field({}, description="the environment it ran in, and what kept its process in")
    restarts: int = Field(0, description="how often its process was started again, as it was killed or failed")

    @property
    def stands_in(self) -> bool:
        """Whether its values are of something that only stands in for the method."""
        return self.stand_in or bool(self.spec.get("stand_in"))


class MetricRecord(Model):
    id: str
    name: str
    version: int
    kind: Literal["pair", "set"]
    better: Literal["lower", "higher"]
    unit: str
    digits: int
    spec: dict[str, Any]
    assets: dict[str, str] = Field({}, description="asset id -> sha256")
    unavailable: str | None = Field(None, description='why there is no value for any method, e.g. "weights"')
    reference_frames: int | None = Field(None, description="size of a set metric's reference set")


class Result(Model):
    """One cell of the table. ``value`` is the headline: over the frames valid for every ranked method of the run."""

    method: str
    metric: str
    value: float = Field(description="NaN where there is none")
    own: float = Field(description="over all frames valid for this method")
    n_valid: int
    n_total: int
    n_common: int = Field(description="frames behind ``value``")
    reason: str | None = None


class EnvironmentRecord(Model):
    python: str
    platform: str
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    cpu: str
    cores: int
    memory_gib: float
    gpu: str | None


class RunRecord(Model):
    """``run.json``."""

    schema_version: int = SCHEMA_VERSION
    id: str
    status: RunStatus
    created: datetime
    finished: datetime | None = None
    command: list[str]
    config: dict[str, Any]
    seed: int
    protocol: ProtocolRecord
    methods: list[MethodRecord]
    metrics: list[MetricRecord]
    results: list[Result] = []
    environment: EnvironmentRecord
    timings: dict[str, float] = Field({}, description="seconds a stage, summed over resumed sessions")
    notes: list[str] = []

    def save(self, folder: Path) -> None:
        """Write ``run.json`` atomically: a killed process leaves the old record or the new one."""
        with writing(folder / "run.json") as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> RunRecord:
        """Read ``folder/run.json``. Raises DataError where it is missing, malformed or of a newer schema."""
        path = folder / "run.json"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"{folder} is not a run: cannot read {path.name} ({error.strerror}).") from error
        try:
            record = cls.model_validate_json(text)
        except ValidationError as error:
            raise DataError(f"{path} is not a valid run record: {error.errors()[0]['msg']}.") from error
        if record.schema_version > SCHEMA_VERSION:
            raise DataError(
                f"{path} has schema {record.schema_version}, this avatarbench reads up to {SCHEMA_VERSION}: upgrade."
            )
        return record


def write_samples(rows: list[dict[str, Any]], folder: Path) -> None:
    """Write ``samples.parquet`` atomically, rows in a fixed order, so that equal runs give equal files."""
    rows = sorted(rows, key=lambda r: (r["method"], r["sample"], r["metric"]))
    with writing(folder / "samples.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SAMPLES), temporary, compression="zstd")


def read_samples(folder: Path) -> pa.Table:
    """The run's samples. Raises DataError where the file is missing or damaged."""
    path = folder / "samples.parquet"
    try:
        with pq.ParquetFile(path) as file:  # read_table would import pyarrow.dataset, and that pandas
            return file.read().select(SAMPLES.names).cast(SAMPLES)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DataError(
            f"cannot read {path}: {error}. Finish the run with: avatarbench run --resume {folder}"
        ) from error
