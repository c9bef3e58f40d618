"""A training set of a few made-up heads and an encoder without weights, for tests of stage one's training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.datasets.images import write_png
from avatarbench.methods.pointillist.build_person import write_json, write_tensors
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.tokenizer import Cube, Points, Tokenizer, Vocabulary
from avatarbench.methods.pointillist.training_set import CLOUD, FORMAT, MANIFEST, RIG, TRACKING

OCTAHEDRON = torch.tensor(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]], dtype=torch.long
)
CORNERS = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])


class TinyPortrait(NamedTuple):
    image: NDArray[np.uint8]
    vertices: Tensor


@dataclass
class TinySet:
    """``counts``: points of each person, on an octahedron whose size is the person's."""

    counts: tuple[int, ...] = (9, 14, 11)
    levels: int = 32
    digest: str = "tiny"
    config: dict[str, object] = field(default_factory=lambda: {"rig": "anny", "fit": "paper"})
    people: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.people = tuple(f"{i:03d}" for i in range(len(self.counts)))
        self.faces = OCTAHEDRON
        # The face on the other side of x = 0: corners 0 and 1 change places.
        other = torch.tensor([1, 0, 2, 3, 4, 5])[OCTAHEDRON].sort(1).values
        self.mirror = (other[:, None] == OCTAHEDRON.sort(1).values).all(2).long().argmax(1)
        self.tokenizer = Tokenizer(Vocabulary(self.levels, len(self.faces)), Cube((-0.2, -0.2, -0.2), 0.4))

    def marks(self, person: str) -> dict[str, str]:
        return {}

    def rest(self, person: str) -> Tensor:
        return CORNERS * (0.1 + 0.02 * int(person))

    def cloud(self, person: str) -> Points:
        generator = torch.Generator().manual_seed(int(person))
        count = self.counts[int(person)]
        faces = torch.randint(len(self.faces), (count,), generator=generator)
        weights = torch.rand(count, 3, generator=generator)
        corners = self.rest(person)[self.faces[faces]]
        return Points((corners * (weights / weights.sum(1, keepdim=True))[..., None]).sum(1), faces)

    def portraits(self, person: str) -> tuple[TinyPortrait, ...]:
        pixels = np.random.default_rng(int(person)).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
        return tuple(TinyPortrait(image, self.rest(person) * (1 + 0.01 * n)) for n, image in enumerate(pixels))


class Others(TinySet):
    """People 003, 004, ... that the usual tiny set does not hold."""

    def __init__(self, *counts: int) -> None:
        super().__init__((0, 0, 0, *counts))
        self.people = tuple(f"{3 + n:03d}" for n in range(len(counts)))


class TinyEncoder:
    """Four tokens: means of a picture's quarters."""

    count, width, fingerprint = 4, 3, "tiny"

    def __init__(self) -> None:
        self.calls = 0

    def tokens(self, images: Tensor) -> Tensor:
        self.calls += 1
        pixels = images.permute(0, 3, 1, 2).float() / 255
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(2).transpose(1, 2)


def tiny_config(**train: object) -> Config:
    """Width 32, two layers, windows of 32 tokens that begin every 16."""
    return Config.model_validate(
        {
            "preset": "tiny",
            "rig": "anny",
            "levels": 32,
            "faces": 8,
            "points": {"samples": 16, "latents": 4, "width": 16, "depth": 1, "heads": 2, "bands": 2},
            "transformer": {"width": 32, "depth": 2, "heads": 2, "head_width": 64, "slots": True},
            "window": {"length": 32, "step": 16},
            "train": {"steps": 6, "batch": 2, "rate": 1e-2, "precision": "fp32", "save_every": 2, **train},
        }
    )


def write_set(root: Path, tiny: TinySet) -> Path:
    """The folder that a TrainingSet reads, with portraits of 32 pixels a side."""
    write_tensors(root / RIG, {"faces": tiny.faces, "mirror": tiny.mirror})
    people = {}
    for person in tiny.people:
        cloud, portraits = tiny.cloud(person), tiny.portraits(person)
        rest = {"positions": cloud.positions, "bindings": cloud.bindings, "rest": tiny.rest(person)}
        write_tensors(root / person / CLOUD, rest)
        tracked = {"vertices": torch.stack([one.vertices for one in portraits])}
        tracked["shape"] = torch.arange(float(len(portraits)))[:, None]
        write_tensors(root / person / TRACKING, tracked)
        names = [f"portrait-{n:02d}.png" for n in range(len(portraits))]
        for name, portrait in zip(names, portraits, strict=True):
            write_png(root / person / name, portrait.image.repeat(4, 0).repeat(4, 1))
        people[person] = {"portraits": [{"file": name} for name in names]}
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    digests = {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    plain = {
        "format": FORMAT,
        "config": tiny.config,
        "tokenizer": tiny.tokenizer.to_json(),
        "people": people,
        "files": digests,
    }
    write_json(root / MANIFEST, plain)
    return root
