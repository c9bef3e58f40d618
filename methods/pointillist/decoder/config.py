"""What the Gaussian decoder is told: ``configs/pointillist_decoder/*.yaml``, checked. Defaults are the paper's, or
those of methods/pointillist/README.md where it is silent."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from avatarbench.methods.pointillist.config import Section

Variant = Literal["full", "flame-position", "ar-feature", "ar-position"]
"""The rows of the paper's Table 2: what of a point the decoder reads, and where points come from."""


class Start(Section):
    """What an untrained decoder makes of every point, so that the first pictures are a head already: Gaussians about as
    wide as the points are apart (``scale``, metres), which hide what is behind them, and grey."""

    scale: float = Field(0.003, gt=0)
    opacity: float = Field(0.9, gt=0, lt=1)
    colour: float = Field(0.5, gt=0, lt=1)


class Limits(Section):
    """What no Gaussian exceeds, metres. ``offset``: along each axis, either way; ``least`` and ``most``: standard
    deviations, of which the first keeps them from vanishing between pixels and the second from covering the picture."""

    offset: float = Field(0.1, gt=0)
    least: float = Field(0.0002, gt=0)
    most: float = Field(0.05, gt=0)


class LossWeights(Section):
    """Eq. 6. ``offset``: of the mean squared length, in units of ``limits.offset``."""

    l1: float = Field(1.0, ge=0)
    ssim: float = Field(0.5, ge=0)
    lpips: float = Field(0.1, ge=0)
    offset: float = Field(0.1, ge=0)

    @model_validator(mode="after")
    def _of_the_picture(self) -> LossWeights:
        if not self.l1 + self.ssim + self.lpips:
            raise ValueError("one of l1, ssim and lpips must be above zero, or nothing is learnt of the pictures")
        return self


class DecoderTrain(Section):
    """``batch``: subjects a step over all processes, ``views`` pictures of each, at ``size`` pixels a side; ``net``:
    the network of LPIPS; ``ema``: what the averaged weights keep of themselves a step."""

    steps: int = Field(12_500, ge=1)
    batch: int = Field(4, ge=1)
    views: int = Field(1, ge=1)
    size: int = Field(512, ge=32)
    rate: float = Field(1e-4, gt=0)
    warmup: int = Field(0, ge=0)
    decay: Literal["none", "cosine", "late"] = "none"
    late: int = Field(0, ge=0)
    clip: float = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    weights: LossWeights = LossWeights()
    net: Literal["vgg", "alex"] = "vgg"
    precision: Literal["fp32", "bf16"] = "bf16"
    checkpointing: bool = False
    seed: int = Field(0, ge=0, lt=2**63)
    evaluate_every: int = Field(500, ge=1)
    save_every: int = Field(500, ge=1)


class DecoderConfig(Section):
    """All of stage two. ``bands``: of the positions' Fourier features."""

    preset: str = "paper"
    variant: Variant = "full"
    width: int = Field(1024, ge=8)
    blocks: int = Field(12, ge=1)
    heads: int = Field(16, ge=1)
    bands: int = Field(8, ge=1)
    start: Start = Start()
    limits: Limits = Limits()
    train: DecoderTrain = DecoderTrain()

    @model_validator(mode="after")
    def _fits(self) -> DecoderConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if not self.limits.least <= self.start.scale <= self.limits.most:
            raise ValueError(
                f"start.scale {self.start.scale} is not between limits.least {self.limits.least} and limits.most "
                f"{self.limits.most}"
            )
        return self

    @property
    def reads_positions(self) -> bool:
        """Whether P of Eq. 4 is an input."""
        return self.variant != "ar-feature"

    @property
    def reads_states(self) -> bool:
        """Whether F of Eq. 4 is an input."""
        return self.variant in ("full", "ar-feature")

    @property
    def generated(self) -> bool:
        """Whether points come from stage one, rather than being the rig's vertices."""
        return self.variant != "flame-position"
