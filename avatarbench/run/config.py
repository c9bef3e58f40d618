"""The configuration of a run: ``configs/run.yaml``, then the command line's flags, then its ``key=value`` overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avatarbench.errors import UsageError


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SourcesConfig(Section):
    sequences: list[str] | None = Field(None, min_length=1)
    limit: int | None = Field(None, ge=1)


class FramesConfig(Section):
    sequences: list[str] | None = Field(None, min_length=1)
    start: int | None = Field(None, ge=0)
    stride: int | None = Field(None, ge=1)
    limit: int | None = Field(None, ge=1)


class ImageConfig(Section):
    size: int | None = Field(None, ge=16, le=4096)
    scale: float | None = Field(None, ge=1.0, le=10.0)


class RunConfig(Section):
    methods: list[str] = Field(min_length=1)
    protocol: str
    metrics: list[str] = []
    sources: SourcesConfig = SourcesConfig()
    frames: FramesConfig = FramesConfig()
    image: ImageConfig = ImageConfig()
    data: dict[str, str] = {}
    manifest: str | None = Field(None, min_length=1)
    tracker: Literal["vhap", "pixel3dmm", "dataset"] | None = None
    tracking: str | None = Field(None, min_length=1)
    method: dict[str, dict[str, Any]] = {}
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    batch: int = Field(8, ge=1)
    seed: int = 0
    skip_missing: bool = False


def load_config(flags: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Compose and validate. ``flags`` maps dotted keys to values (None: not given); ``overrides`` win over flags.

    Raises UsageError naming the key and what it accepts.
    """
    try:
        overridden = {o.key_or_group for o in OverridesParser.create().parse_overrides(list(overrides))}
        with initialize_config_module("avatarbench.configs", version_base="1.3"):
            config = compose("run", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(
            f"cannot apply {' '.join(overrides)}: {' '.join(str(error).split())} See configs/run.yaml."
        ) from error
    # Flags go in as values, not as override text, so that a path may hold any character.
    OmegaConf.set_struct(config, False)
    for key, value in flags.items():
        if value is not None and key not in overridden:
            OmegaConf.update(config, key, value, merge=False)
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        found = RunConfig.model_validate(plain)
    except OmegaConfBaseException as error:
        raise UsageError(f"the configuration is incomplete: {str(error).splitlines()[0]}.") from error
    except ValidationError as error:
        lines = [f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']} (got {e['input']!r})" for e in error.errors()]
        raise UsageError("the configuration is not valid:\n  " + "\n  ".join(lines)) from error
    # Absolute, so that a run can be resumed from any folder.
    found.data = {name: str(Path(path).expanduser().absolute()) for name, path in found.data.items()}
    found.manifest = None if found.manifest is None else str(Path(found.manifest).expanduser().absolute())
    found.tracking = None if found.tracking is None else str(Path(found.tracking).expanduser().absolute())
    if (found.tracking is None) != (found.tracker in (None, "dataset")):
        raise UsageError("tracker=vhap and pixel3dmm take a folder with tracking=DIR, and nothing else does.")
    return found
