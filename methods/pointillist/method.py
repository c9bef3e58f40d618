"""AvatarPointillist as a method: a portrait to an avatar (paper sections 4.1 to 4.3)."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.errors import AssetError, AvatarbenchError, DataError, Unscorable, UsageError
from avatarbench.gaussians.head import GaussianHead
from avatarbench.method import FaceTrack, Portrait
from avatarbench.methods.pointillist.avatar import PointAvatar
from avatarbench.methods.pointillist.checkpoint import load_checkpoint, shipped
from avatarbench.methods.pointillist.conditioning import (
    PortraitCondition,
    binding_rig,
    framed,
    mesh_condition,
    read_portrait,
    rest_of,
)
from avatarbench.methods.pointillist.decoder.checkpoint import check_pair, load_decoder, shipped_decoder
from avatarbench.methods.pointillist.decoder.config import Variant
from avatarbench.methods.pointillist.decoder.gaussians import cloud_of, inputs_of, rig_points
from avatarbench.methods.pointillist.engine import Engine
from avatarbench.methods.pointillist.generate import device_of, options_of
from avatarbench.methods.pointillist.images import ImageEncoder, load_encoder
from avatarbench.methods.pointillist.measures import fault
from avatarbench.methods.pointillist.tokenizer import SLOTS, Points
from avatarbench.tracking import driving
from avatarbench.tracking.anny_fit import AnnyFit, fit_motion
from avatarbench.tracking.face_model import face_model

WHITE = 250
"""Of 255: a picture whose every pixel outside of the mask is at least this bright stands on white already."""


class Pointillist:
    """Builds avatars with trained weights: those that ship, or those named.

    ``checkpoint``: of stage one, ``decoder``: of stage two, files; ``seed``: the same one gives the same avatar;
    ``temperature``, ``top_k``, ``top_p``, ``points``: of the sampling, the checkpoint's where None; ``device``: auto,
    cpu, cuda or cuda:N.

    Raises AssetError where weights are missing, DataError for such as do not belong together, UsageError for options
    out of range and for weights on another rig than Anny, the one that portraits are tracked with.
    """

    variant: ClassVar[Variant] = "full"
    shipped: ClassVar[str] = "mini-decoder"

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        decoder: str | Path | None = None,
        seed: int = 0,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        points: int | None = None,
        device: str = "auto",
    ) -> None:
        self.seed, self.device = seed, device_of(device)
        stage_one = _path(checkpoint) or shipped()
        self.loaded = load_checkpoint(stage_one, self.device)
        stage_two = _path(decoder) or shipped_decoder(self.shipped)
        self.decoder = load_decoder(stage_two, self.device)
        check_pair(self.decoder, self.loaded)
        if self.decoder.config.variant != self.variant:
            raise DataError(
                f"{stage_two} is a decoder of the variant '{self.decoder.config.variant}', and '{self.variant}' was "
                "asked for: name one of that variant, or run the method of the decoder's."
            )
        if self.loaded.config.rig != "anny":
            raise UsageError(
                f"{stage_one} binds to the rig '{self.loaded.config.rig}', and portraits are tracked with Anny's head "
                "alone: name weights that were trained on Anny, as the preset mini's."
            )
        self.options = options_of(self.loaded.config.generate, temperature, top_k, top_p, points)

    @classmethod
    def obstacles(cls, **options: Any) -> list[str]:
        """Why the method cannot be set up with these options; nothing where it can."""
        try:
            cls(**options)
        except AssetError as error:
            return [f"{error} To a method, the options 'checkpoint' and 'decoder' name such files."]
        except AvatarbenchError as error:
            return [str(error)]
        return []

    def build(self, portrait: Portrait) -> PointAvatar:
        """Raises Unscorable where no face was found in the portrait or none that can be fitted, DataError for a picture
        that is too small."""
        begun = time.perf_counter()
        face = driving.checked(portrait.face, "portrait")
        fit = tracked(portrait, face)
        condition = self.condition(portrait, face, fit)
        prepared = time.perf_counter()
        points, states = self.points(condition)
        generated = time.perf_counter()
        head = self.decoded(points, states, condition, fit)
        seconds = {
            "tracking": prepared - begun,
            "generation": generated - prepared,
            "decoding": time.perf_counter() - generated,
        }
        return PointAvatar(head, _placed(fit, face, portrait), seconds)

    def condition(self, portrait: Portrait, face: FaceTrack, fit: AnnyFit) -> PortraitCondition:
        """What stage one and the decoder see of a portrait: the same as training's portraits went through, with the
        face and the head that were found before."""
        image, _ = read_portrait(portrait.image, _needed(portrait))
        loaded, small = self.loaded, binding_rig(self.loaded.config, self.loaded.rig)
        vertices = rest_of(fit, small)
        picture = framed(image, face)
        return mesh_condition(picture, vertices, small.faces, loaded.config, loaded.tokenizer, self._encoder, self.seed)

    def points(self, condition: PortraitCondition) -> tuple[Points, Tensor | None]:
        """The points of one subject and the states (N, 4, W) that predicted them, None where the decoder reads none.
        Raises Unscorable where stage one ends before its first point."""
        if not self.decoder.config.generated:
            small = binding_rig(self.loaded.config, self.loaded.rig)
            return rig_points(condition.vertices, small.faces), None
        with torch.inference_mode():
            inputs = (condition.image_tokens[None].to(self.device), condition.samples[None].to(self.device))
            context = self.loaded.model.condition(*inputs)
        (drawn,) = self._engine.generate(context, self.options, [self.seed])
        wrong = fault(drawn.tokens, self.loaded.tokenizer.vocabulary)
        if wrong is not None:
            raise Unscorable(f"what was generated is no cloud ({wrong}): try another seed.")
        states = drawn.states.float().reshape(-1, SLOTS, drawn.states.shape[-1])
        points = self.loaded.tokenizer.decode(drawn.tokens.cpu())
        return points, states if self.decoder.config.reads_states else None

    def decoded(
        self, points: Points, states: Tensor | None, condition: PortraitCondition, fit: AnnyFit
    ) -> GaussianHead:
        """The Gaussians of points, on the head that was tracked."""
        inputs = inputs_of(points, self.decoder.tokenizer)[None].to(self.device)
        with torch.inference_mode():
            given = None if states is None else states[None].to(self.device)
            found = self.decoder.model(inputs, given, condition.image_tokens[None].to(self.device))
        attributes = type(found)(*(value.clone().cpu() for value in found.subject(0)))
        small = binding_rig(self.loaded.config, self.loaded.rig)
        cloud, shape = cloud_of(points, attributes), torch.from_numpy(fit.shape)
        return GaussianHead(cloud, face_model().rig, shape, small, form="barycentric")

    @cached_property
    def _encoder(self) -> ImageEncoder:
        found = load_encoder(self.loaded.config.image, self.device)
        if (found.count, found.width) != self.loaded.image_tokens:
            raise DataError(
                f"the image encoder gives {found.count} x {found.width} tokens, and the weights were trained with "
                f"{self.loaded.image_tokens[0]} x {self.loaded.image_tokens[1]}: pull the assets again."
            )
        return found

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self.loaded.model)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given).expanduser()


def tracked(portrait: Portrait, face: FaceTrack) -> AnnyFit:
    """The head under the portrait's face, as if its camera were not known: it was not for any portrait that the weights
    have learnt from."""
    height, width = portrait.image.shape[:2]
    return driving.fitted(face, (width, height), None)


def _placed(fit: AnnyFit, face: FaceTrack, portrait: Portrait) -> AnnyFit:
    """The same head in the world of the portrait's own camera, where there is one."""
    if portrait.camera is None:
        return fit
    return fit_motion(face, replace(fit, camera=portrait.camera))


def _needed(portrait: Portrait) -> NDArray[np.float32] | None:
    """The mask, unless all that is outside of it is white already: composited twice, outlines would turn pale."""
    mask = portrait.mask
    if mask is None or mask.shape != portrait.image.shape[:2]:
        return mask
    outside = portrait.image[mask <= 0]
    return None if bool((outside >= WHITE).all()) else mask
