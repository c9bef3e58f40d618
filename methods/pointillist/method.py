"""AvatarPointillist as a method: a portrait to an avatar (paper sections 4.1 to 4.3)."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.errors import AssetError, AvatarbenchError, DataError, Unscorable, UsageError
from avatarbench.gaussians.head import GaussianHead
from avatarbench.generator import SEEDS
from avatarbench.isolation.weights import entry
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
from avatarbench.methods.pointillist.draw import draw, flaw
from avatarbench.methods.pointillist.engine import Engine
from avatarbench.methods.pointillist.generate import device_of, options_of
from avatarbench.methods.pointillist.images import ImageEncoder, load_encoder
from avatarbench.methods.pointillist.tokenizer import SLOTS, Points
from avatarbench.tracking import driving
from avatarbench.tracking.anny_fit import AnnyFit, fit_motion
from avatarbench.tracking.face_model import face_model

WHITE = 250
"""Of 255: a picture whose every pixel outside of the mask is at least this bright stands on white already."""


class Drawn(NamedTuple):
    """``states`` (N, 4, W): what predicted the points, None where the decoder reads none; ``tries``: how many clouds
    were drawn until one came to an end, None where none are drawn."""

    points: Points
    states: Tensor | None
    tries: int | None


class Pointillist:
    """Builds avatars with trained weights: those that ship, or those named.

    ``checkpoint``: of stage one, ``decoder``: of stage two, files; ``seed``: the same one gives the same avatar;
    ``temperature``, ``top_k``, ``top_p``, ``points``, ``guidance``, ``spacing``, ``consensus``: of the sampling, where
    None as the clouds were drawn that the decoder was trained on, or, where it does not say, as stage one's checkpoint
    has it; ``retries``: how often a cloud is drawn again, under the seeds that follow, where it came to no end or is
    too small to be a head; ``device``: auto, cpu, cuda or cuda:N.

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
        guidance: float | None = None,
        spacing: float | None = None,
        consensus: int | None = None,
        retries: int = 3,
        device: str = "auto",
    ) -> None:
        if not (isinstance(seed, int) and isinstance(retries, int) and 0 <= seed < SEEDS and retries >= 0):
            raise UsageError(
                f"seed={seed!r} retries={retries!r}: give a seed from 0 to 2**63 - 1, and no retries below 0."
            )
        for name, given in (("checkpoint", checkpoint), ("decoder", decoder)):
            if not (given is None or isinstance(given, (str, Path))):
                raise UsageError(f"{name}={given!r} is no path of a file of weights.")
        self.seed, self.retries, self.device = seed, retries, device_of(device)
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
        own = self.decoder.sampling or self.loaded.config.generate
        self.options = options_of(own, temperature, top_k, top_p, points, guidance, spacing, consensus)

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

    @classmethod
    def origin(
        cls, checkpoint: str | Path | None = None, decoder: str | Path | None = None, **_: Any
    ) -> dict[str, dict[str, dict[str, str | int]]]:
        """The weights that are run, for the record. Raises AssetError where they cannot be read."""
        files = {
            "checkpoint": _path(checkpoint) or shipped(),
            "decoder": _path(decoder) or shipped_decoder(cls.shipped),
        }
        return {"weights": {name: entry(file) for name, file in files.items()}}

    def build(self, portrait: Portrait) -> PointAvatar:
        """Raises Unscorable where no face was found in the portrait or none that can be fitted, and where no cloud came
        to an end; DataError for a picture that is too small."""
        begun = time.perf_counter()
        face = driving.checked(portrait.face, "portrait")
        fit = tracked(portrait, face)
        condition = self.condition(portrait, face, fit)
        prepared = time.perf_counter()
        points, states, tries = self.points(condition)
        generated = time.perf_counter()
        head = self.decoded(points, states, condition, fit)
        seconds = {
            "tracking": prepared - begun,
            "generation": generated - prepared,
            "decoding": time.perf_counter() - generated,
        }
        return PointAvatar(head, _placed(fit, face, portrait), seconds, tries)

    def condition(self, portrait: Portrait, face: FaceTrack, fit: AnnyFit) -> PortraitCondition:
        """What stage one and the decoder see of a portrait: the picture and the head that a training set would store of
        it (``build_portraits.track``), from the ``face`` and the head that were found before."""
        image, _ = read_portrait(portrait.image, _needed(portrait))
        loaded, small = self.loaded, binding_rig(self.loaded.config, self.loaded.rig)
        vertices = rest_of(fit, small)
        picture = framed(image, face)
        return mesh_condition(picture, vertices, small.faces, loaded.config, loaded.tokenizer, self._encoder, self.seed)

    def points(self, condition: PortraitCondition) -> Drawn:
        """The points of one subject, and what predicted them. A cloud without an end is no head, whose upper part it
        lacks, and neither is one that is far too small: others are drawn, under the seeds that follow.

        Raises Unscorable where no seed gives one."""
        if not self.decoder.config.generated:
            small = binding_rig(self.loaded.config, self.loaded.rig)
            return Drawn(rig_points(condition.vertices, small.faces), None, None)
        with torch.inference_mode():
            inputs = (condition.image_tokens[None].to(self.device), condition.samples[None].to(self.device))
            context = self.loaded.model.condition(*inputs)
        wrong: list[str] = []
        reads = self.decoder.config.reads_states
        for seed in ((self.seed + n) % SEEDS for n in range(self.retries + 1)):
            (drawn,) = draw(self.loaded, self._engine, context, self.options, [seed], states=reads)
            why = flaw(drawn, self.loaded)
            if why is None:
                states = drawn.states.float().reshape(-1, SLOTS, drawn.states.shape[-1])
                points = self.loaded.tokenizer.decode(drawn.tokens.cpu())
                return Drawn(points, states if reads else None, len(wrong) + 1)
            wrong.append(f"seed {seed}: {why}")
        raise Unscorable(
            f"stage one drew no cloud that can be decoded ({'; '.join(wrong)}): give another seed, more retries, or a "
            "larger bound of points."
        )

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
        unlike = self.loaded.misfit(found)
        if unlike is not None:
            raise DataError(f"{unlike}: pull the assets again.")
        if self.decoder.encoder not in (None, found.fingerprint):
            raise DataError(
                f"the image encoder is {found.fingerprint[:12]}, and the decoder was trained with that of "
                f"{str(self.decoder.encoder)[:12]}: pull the assets again."
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
