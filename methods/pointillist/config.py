"""What AvatarPointillist is told: ``configs/pointillist/*.yaml``, checked. Defaults are the paper's, or
those of methods/pointillist/README.md where it is silent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from avatarbench.methods.pointillist.tokenizer import SLOTS


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ImageTokens(Section):
    """The frozen encoder of the portrait. ``size``: side of its input, pixels."""

    encoder: Literal["dinov2-vitl14-reg", "vgg16"] = "dinov2-vitl14-reg"
    size: int = Field(518, ge=32)


class PointTokens(Section):
    """The perceiver over surface samples of the tracked, neutralised head; one more latent stands for the whole."""

    samples: int = Field(4096, ge=1)
    latents: int = Field(256, ge=1)
    width: int = Field(768, ge=8)
    depth: int = Field(8, ge=0, description="self-attention layers over the latents")
    heads: int = Field(12, ge=1)
    bands: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _divides(self) -> PointTokens:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class Transformer(Section):
    """``order``: of a layer's parts, a(ttention), c(ross-attention) and f(eed-forward). ``slots``: whether a token's
    place in its point is also embedded. ``dropout``: in feed-forward parts. ``shorten``: the hourglass' factors, one a
    level."""

    architecture: Literal["plain", "hourglass"] = "plain"
    width: int = Field(1024, ge=8)
    depth: int = Field(24, ge=1)
    heads: int = Field(16, ge=1)
    head_width: int = Field(64, ge=8)
    order: Literal["acf", "caf"] = "acf"
    slots: bool = False
    dropout: float = Field(0.0, ge=0, lt=1)
    start: Literal["random", "geometric"] = Field("random", description="the first weights: drawn, or as start.py says")
    shorten: tuple[Annotated[int, Field(ge=2)], ...] = (4, 4)

    @model_validator(mode="after")
    def _deep_enough(self) -> Transformer:
        stacks = 2 * len(self.shorten) + 1
        if self.architecture == "hourglass" and (not self.shorten or self.depth < stacks):
            raise ValueError(
                f"an hourglass that shortens by {self.shorten} has {stacks} stacks of layers and depth {self.depth} "
                "does not fill them"
                if self.shorten
                else "an hourglass shortens at least once"
            )
        return self


class Grammar(Section):
    """Where tokens that the grammar forbids are masked."""

    training: bool = True
    sampling: bool = True


class Window(Section):
    """``length`` of a training window and ``step`` between two, tokens."""

    length: int = Field(12_000, ge=2 * SLOTS)
    step: int = Field(6_000, ge=SLOTS)

    @model_validator(mode="after")
    def _whole_points(self) -> Window:
        if self.length % SLOTS or self.step % SLOTS or self.step > self.length:
            raise ValueError(
                f"length {self.length} and step {self.step} must be multiples of {SLOTS}, the step not the longer one"
            )
        return self


class Augment(Section):
    """Changes of a training subject, cloud and surface samples alike. ``mirror``: as often as not; ``scale``: standard
    deviation of each axis' factor; ``warp``: of a smooth displacement, metres; ``colour``: strength on the portrait,
    of which every portrait has so many ``colours`` (0: new ones every time; few need the image encoder less often)."""

    mirror: bool = False
    scale: float = Field(0.0, ge=0, le=0.3)
    warp: float = Field(0.0, ge=0, le=0.1)
    colour: float = Field(0.0, ge=0, lt=1)
    colours: int = Field(0, ge=0)


class Train(Section):
    """``batch``: windows a step over all processes; ``muon``: Muon's rate over ``rate``, which is AdamW's; ``smooth``:
    standard deviation, in levels, of the soft target around an x or z (0: plain cross-entropy, the paper's); ``blank``:
    share of windows that are learnt without their portrait, for ``generate.guidance`` (Ho and Salimans 2021);
    ``decay``: of the rate, along a cosine over all steps, or in a line over the last ``late`` ones, to nothing."""

    steps: int = Field(50_000, ge=1)
    batch: int = Field(4, ge=1)
    optimiser: Literal["adamw", "muon"] = "adamw"
    rate: float = Field(1e-4, gt=0)
    muon: float = Field(2.0, gt=0)
    warmup: int = Field(0, ge=0)
    decay: Literal["none", "cosine", "late"] = "none"
    late: int = Field(0, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    smooth: float = Field(0.0, ge=0, le=64)
    blank: float = Field(0.0, ge=0, lt=1)
    precision: Literal["fp32", "bf16"] = "bf16"
    checkpointing: bool = False
    seed: int = Field(0, ge=0, lt=2**63)
    evaluate_every: int = Field(1_000, ge=1)
    save_every: int = Field(500, ge=1)
    augment: Augment = Augment()


class Generate(Section):
    """``policy``: when the window is full, "refill" takes up its last half anew, as truncated training saw it;
    "roll" drops the oldest point. ``points``: the bound. ``guidance``: how far from what is drawn without the portrait
    (0) towards, and beyond, what is drawn with it (1: the paper's, unguided), for models of ``train.blank``.
    ``spacing``: levels that points keep apart: one that comes nearer to an earlier one is drawn again, a few times at
    most (0: the paper's, nothing is). ``consensus``: of how many draws a cloud is what they agree on (1: the paper's,
    a draw); its points may come nearer to each other than ``spacing``, which holds for the draws."""

    policy: Literal["refill", "roll"] = "refill"
    points: int = Field(40_000, ge=1)
    temperature: float = Field(1.0, ge=0)
    top_k: int | None = Field(None, ge=1)
    top_p: float = Field(1.0, gt=0, le=1)
    guidance: float = Field(1.0, ge=0, le=20)
    spacing: float = Field(0.0, ge=0)
    consensus: int = Field(1, ge=1, le=64)


class Config(Section):
    """All of stage one. ``fit``: the preset that training clouds are fitted with; ``faces``: of the rig the bindings
    name."""

    preset: str = "paper"
    rig: str = "flame-teeth"
    fit: str = "paper"
    levels: int = Field(1024, ge=2)
    faces: int = Field(10_144, ge=1)
    image: ImageTokens = ImageTokens()
    points: PointTokens = PointTokens()
    transformer: Transformer = Transformer()
    grammar: Grammar = Grammar()
    window: Window = Window()
    train: Train = Train()
    generate: Generate = Generate()
