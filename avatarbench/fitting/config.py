"""What a fit is told: ``configs/fit/*.yaml``, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from avatarbench import presets

Rate = Annotated[float, Field(ge=0, le=10)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Rates(Section):
    """Adam's steps. ``means`` falls exponentially from the first to the second over the fit."""

    means: tuple[Annotated[Rate, Field(gt=0)], Annotated[Rate, Field(gt=0)]] = (5e-3, 5e-5)
    scales: Rate = 1.7e-2
    quaternions: Rate = 1e-3
    opacities: Rate = 5e-2
    colours: Rate = 2.5e-3
    harmonics: Rate = 1.25e-4


class Start(Section):
    """Every Gaussian at first. ``scale``: standard deviation in the face's plane, and ``thickness`` along its normal,
    in units of the face's size."""

    opacity: float = Field(0.1, ge=1e-4, le=0.9999)
    scale: float = Field(1.0, ge=1e-4, le=1e3)
    thickness: float = Field(1.0, ge=1e-4, le=1e3)


class Densify(Section):
    """Adaptive density control (Kerbl et al. 2023, section 5), in steps. ``gradient``: mean screen-space gradient, in
    units of half the picture; ``size``: a Gaussian wider than this part of the scene's radius is split, others
    cloned."""

    start: int = Field(10_000, ge=0)
    stop: int = Field(600_000, ge=0)
    every: int = Field(2_000, ge=1)
    gradient: float = Field(2e-4, gt=0)
    size: float = Field(0.01, gt=0)
    fade: float = Field(0.005, ge=1e-6, lt=0.5, description="a Gaussian less opaque than this is removed")
    hidden: float = Field(0, ge=0, lt=1, description="one that fills less than this share of a mean view is removed")
    reset_every: int = Field(60_000, ge=1, description="opacities fall to at most twice ``fade``")


class Density(Section):
    """AvatarPointillist's constraint: a face holds none or ``least`` to ``most`` Gaussians."""

    enabled: bool = True
    least: int = Field(4, ge=1)
    most: int = Field(15, ge=1, le=10_000)

    @model_validator(mode="after")
    def _ordered(self) -> Density:
        if self.most < self.least:
            raise ValueError(f"most ({self.most}) is below least ({self.least})")
        return self


class Losses(Section):
    """Weights of GaussianAvatars' loss. Thresholds in local units: of the face's size."""

    ssim: float = Field(0.2, ge=0, le=1)
    position: Weight = 0.01
    position_free: Weight = 1.0
    scale: Weight = 1.0
    scale_free: Weight = 0.6


class FitConfig(Section):
    """One fit. ``size``: pixels a side; ``cameras``: at most so many, evenly chosen; ``faces``: the rig is decimated
    to about so many, None keeps it; ``points``: at most so many Gaussians."""

    steps: int = Field(600_000, ge=1)
    size: int | None = Field(None, ge=16)
    cameras: int | None = Field(None, ge=1)
    frames: int | None = Field(None, ge=1, description="at most so many time steps, evenly chosen")
    faces: int | None = Field(None, ge=20)
    points: int | None = Field(None, ge=1, le=10**9)
    degree: Literal[0, 1, 2, 3] | None = 3
    coarse: float = Field(0.0, ge=0, le=1, description="this share of the steps, the first, see half the resolution")
    refine: bool = Field(True, description="also optimise every frame's pose and expression, as GaussianAvatars does")
    device: str = "auto"
    seed: int = Field(0, ge=0, lt=2**63)
    checkpoint_every: int = Field(10_000, ge=1)
    start: Start = Start()
    rates: Rates = Rates()
    densify: Densify = Densify()
    density: Density = Density()
    losses: Losses = Losses()


def load_preset(name: str, overrides: Sequence[str] = ()) -> FitConfig:
    """``configs/fit/<name>.yaml`` with ``key=value`` changes. Raises UsageError naming the key and what it accepts."""
    return presets.load("avatarbench.configs.fit", name, overrides, FitConfig, "the fit's configuration")
