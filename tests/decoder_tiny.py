"""Octahedra that a decoder can be trained on in seconds: their rig, clouds, pictures, and a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate import Accelerator

from avatarbench.gaussians.cloud import Cloud
from avatarbench.heads.rig import Rig, RigArrays
from avatarbench.method import Camera
from avatarbench.methods.pointillist.decoder.batches import Batches
from avatarbench.methods.pointillist.decoder.clouds import Drawn
from avatarbench.methods.pointillist.decoder.config import DecoderConfig
from avatarbench.methods.pointillist.decoder.frames import Frame, Pose
from avatarbench.methods.pointillist.decoder.motion import Movable
from avatarbench.methods.pointillist.decoder.trainer import Trainer, pictures
from avatarbench.methods.pointillist.tokenizer import Tokenizer
from tests.pointillist_tiny import CORNERS, OCTAHEDRON, TinySet

CPU = torch.device("cpu")
WIDTH = 5
"""Of stage one's states."""


def octahedron_rig(expressions: int = 2) -> Rig:
    """Its shape is its size, its expressions stretch it along x and y, and its second joint turns the upper half."""
    corners = CORNERS.numpy()
    stretch = np.stack([corners * [0.02, 0, 0], corners * [0, 0.02, 0]], -1)[..., :expressions]
    upper = np.clip(0.5 + 0.5 * corners[:, 1:2], 0, 1)
    arrays = RigArrays(
        template=(0.1 * corners).astype(np.float32),
        faces=OCTAHEDRON.numpy(),
        uvs=np.zeros((0, 2), np.float32),
        uv_faces=np.zeros((0, 3), np.int64),
        shape_directions=(0.02 * corners[..., None]).astype(np.float32),
        expression_directions=stretch.astype(np.float32),
        joints=np.zeros((2, 3), np.float32),
        joint_directions=np.zeros((2, 3, 1 + expressions), np.float32),
        skinning=np.concatenate([1 - upper, upper], 1).astype(np.float32),
        pose_directions=np.zeros((6, 3, 0), np.float32),
    )
    return Rig("octahedron", arrays, (-1, 0), ("root", "top"), ("size",), ("wide", "high")[:expressions])


def movable() -> Movable:
    return Movable(octahedron_rig(), None, CPU)


@dataclass
class TinyClouds:
    """The clouds of a tiny set as stage one might have drawn them, two portraits of each person."""

    subjects: TinySet = field(default_factory=TinySet)
    left: dict[str, dict[int, str]] = field(default_factory=dict)
    image_tokens: tuple[int, int] = (4, 3)
    width: int = WIDTH

    def __post_init__(self) -> None:
        self.people = self.subjects.people
        self.left = {person: self.left.get(person, {}) for person in self.people}
        self.portraits = {p: tuple(n for n in range(2) if n not in self.left[p]) for p in self.people}
        self.tokenizer: Tokenizer = self.subjects.tokenizer

    def drawn(self, person: str, portrait: int) -> Drawn:
        generator = torch.Generator().manual_seed(10 * int(person) + portrait)
        points = self.tokenizer.decode(self.tokenizer.encode(*self.subjects.cloud(person)).tokens)
        states = torch.randn(len(points.bindings), 4, self.width, generator=generator)
        image = torch.randn(self.image_tokens, generator=generator)
        return Drawn(points, states, image, self.subjects.rest(person), torch.tensor([float(person)]))


_FRAMES: dict[tuple[str, int, int, int], Frame] = {}


@dataclass
class TinyFrames:
    """Three pictures of each person: a coloured cloud on the octahedron, moved and seen from three sides."""

    subjects: TinySet = field(default_factory=TinySet)
    size: int = 32
    digest: str = "frames"

    def count(self, person: str) -> int:
        return 3

    def frame(self, person: str, number: int) -> Frame:
        key = person, len(self.subjects.cloud(person).bindings), number, self.size
        if key not in _FRAMES:
            _FRAMES[key] = self._frame(person, number)
        return _FRAMES[key]

    def _frame(self, person: str, number: int) -> Frame:
        points = self.subjects.cloud(person)
        generator = torch.Generator().manual_seed(int(person))
        count = len(points.bindings)
        cloud = Cloud(
            means=points.positions,
            quaternions=torch.tensor([1.0, 0, 0, 0]).expand(count, 4).contiguous(),
            scales=torch.full((count, 3), 0.03),
            opacities=torch.full((count,), 0.95),
            colours=torch.rand(count, 3, generator=generator),
            bindings=points.bindings,
        )
        angle = 0.4 * (number - 1)
        pose = Pose(
            torch.tensor([0.5 * number, 1.0]), torch.tensor([[0.0, 0, 0], [0, 0.3 * number, 0]]), torch.zeros(3)
        )
        skeleton = movable().skeleton(self.subjects.rest(person), torch.tensor([float(person)]))
        camera = looking(angle, self.size)
        return Frame(pictures(skeleton.posed(cloud, [pose]), [camera])[0].detach(), camera, pose)


def looking(angle: float, size: int) -> Camera:
    """From half a metre in front of the origin, turned about the vertical by ``angle``."""
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, -1, 0], [np.sin(angle), 0, -np.cos(angle)]])
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = turn, (0, 0, 0.5)
    k = np.array([[1.4 * size, 0, size / 2], [0, 1.4 * size, size / 2], [0, 0, 1.0]])
    return Camera(k, view, size, size)


def tiny_decoder(variant: str = "full", **train: object) -> DecoderConfig:
    """Width 16, two blocks, pictures of 32 pixels, no LPIPS: its weights are a download."""
    weights = {"lpips": 0.0} | dict(train.pop("weights", {}))  # type: ignore[call-overload]
    return DecoderConfig.model_validate(
        {
            "preset": "tiny",
            "variant": variant,
            "width": 16,
            "blocks": 2,
            "heads": 2,
            "bands": 2,
            "start": {"scale": 0.03},
            "train": {
                "steps": 6, "batch": 2, "views": 2, "size": 32, "rate": 1e-2, "net": "alex", "precision": "fp32",
                "save_every": 2, "weights": weights, **train,
            },
        }
    )  # fmt: skip


def tiny_batches(config: DecoderConfig, clouds: TinyClouds | None = None) -> Batches:
    clouds = clouds or TinyClouds()
    return Batches(clouds, clouds.subjects, TinyFrames(clouds.subjects), movable(), config, CPU)


def tiny_trainer(config: DecoderConfig, clouds: TinyClouds | None = None) -> Trainer:
    return Trainer(tiny_batches(config, clouds), config, Accelerator())
