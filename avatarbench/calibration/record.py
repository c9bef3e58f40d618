"""``calibration.json``: what was found, and with what."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avatarbench.calibration.changes import Group
from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.run.record import EnvironmentRecord

FILE_NAME = "calibration.json"
SCHEMA_VERSION = 1


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")


class Level(Model):
    """Mean and standard deviation over the ``n`` scenes that have a value, of ``n_total``; a set's value has no SD."""

    level: float
    mean: float
    sd: float
    n: int
    n_total: int
    reason: str | None = Field(None, description="why values are missing, the most frequent reason")


class Curve(Model):
    """One metric under one kind of change."""

    kind: str
    title: str
    group: Group
    unit: str = Field(description="of the levels")
    zero: float = Field(description="the value without change that the slope starts from; NaN where none counts")
    levels: list[Level]
    slope: float = Field(
        description="change of the value a unit of the level, at the small end that the floor does not hide"
    )
    saturation: float | None = Field(description="level beyond which the rise is small, None for none in the range")
    detection: float | None = Field(description="smallest level beyond the noise floor, None for none in the range")
    said: float | None = Field(None, description="pose metrics under a turn: degrees said for a degree true")


class MetricCalibration(Model):
    id: str
    name: str
    version: int
    kind: Literal["pair", "set"]
    better: Literal["lower", "higher"]
    unit: str
    unavailable: str | None = Field(None, description="why nothing was measured")
    identical: Level | None = Field(None, description="the value of the very same image")
    floor: Level | None = Field(None, description="the same scene, another sampling seed")
    stranger: Level | None = Field(None, description="another person in the same pose and camera")
    frames: int | None = Field(None, description="set metrics: frames a side")
    features: int | None = Field(None, description="set metrics: features a frame")
    curves: list[Curve] = []

    @property
    def few_frames(self) -> bool:
        """Whether a set is smaller than its features, so that its covariance has not full rank."""
        return self.frames is not None and self.features is not None and self.frames <= self.features


class CalibrationRecord(Model):
    schema_version: int = SCHEMA_VERSION
    created: datetime
    identities: int
    bases: list[str]
    scenes: int
    size: int
    samples: int
    seed: int
    openheads: int = Field(description="version of the identities")
    renderer: str = Field(description="hash of the code and packages that drew the frames")
    frames: int = Field(description="rendered frames behind the result")
    seconds_a_frame: float | None = Field(description="of those rendered in this session")
    share: float = Field(description="of the steepest rise, below which a curve saturates")
    deviations: float = Field(description="of the floor, beyond which a change is detected")
    environment: EnvironmentRecord
    metrics: list[MetricCalibration]

    def save(self, folder: Path) -> None:
        """Write the file atomically."""
        with writing(folder / FILE_NAME) as temporary:
            temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> CalibrationRecord:
        """Read a file. Raises DataError where it is missing, malformed or of another schema."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot read {path} ({error.strerror}). Make it with: avatarbench calibrate") from error
        try:
            record = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(f"{path} is not a calibration record: {where}: {first['msg']}.") from error
        if record.schema_version != SCHEMA_VERSION:
            raise DataError(f"{path} has schema {record.schema_version}, this avatarbench reads {SCHEMA_VERSION}.")
        return record


def significant(value: float, digits: int = 6) -> float:
    """``value`` rounded to significant digits: what is below them is not worth a byte of a file that ships."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else value
