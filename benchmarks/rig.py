"""Animating bound points beside the models' own forward passes, in turns in one process, on a CPU or a GPU.

    python benchmarks/rig.py [--points 25000] [--frames 100] [--device cuda] [--no-anny]

The peer is ``smplx.FLAME`` with as many vertices: a synthetic file of FLAME's schema, one shape coefficient (its
least), 100 expressions, all poses. Every bound point stands on a vertex, so that both compute the same and are compared
before any time is taken. The peer runs in batches of 10 and of all frames, and its faster one counts (a frame at a time
takes it several times as long). Anny's forward pass is a second peer, on its own 4,538 vertices; its interface
computes the identity anew for every frame. Times are the best of the rounds. Data is made here and nothing of FLAME is
read. Last line: peer seconds / ours.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import pickle
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatarbench.heads.anny import JOINTS, load_anny
from avatarbench.heads.binding import Binding, animate, bind
from avatarbench.heads.rig import Rig, RigArrays, rotation_matrix
from avatarbench.metrics.heap import return_free_memory

TOLERANCE = 1e-5  # metres
BATCH = 10


def flame_like(count: int) -> dict[str, Any]:
    """FLAME's pickle with ``count`` vertices on an egg, float32; the shape directions are zero."""
    draw = np.random.default_rng(0)
    template = draw.normal(0, 1, (count, 3)).astype(np.float32)
    template *= 0.1 / np.linalg.norm(template, axis=1, keepdims=True)
    weights = draw.dirichlet(np.ones(5), count).astype(np.float32)
    regressor = np.zeros((5, count), np.float32)
    regressor[:, : 5 * 20] = np.kron(np.eye(5), np.full(20, 1 / 20))
    directions = np.zeros((count, 3, 400), np.float32)
    directions[..., 300:] = draw.standard_normal((count, 3, 100), np.float32) * 1e-3
    return {
        "v_template": template,
        "f": np.arange(count // 3 * 3).reshape(-1, 3),
        "shapedirs": directions,
        "posedirs": draw.standard_normal((count, 3, 36), np.float32) * 1e-3,
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(5)], np.uint32),
    }


def smplx_flame(arrays: dict[str, Any], batch: int) -> Any:
    import smplx

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        Path(folder, "FLAME_NEUTRAL.pkl").write_bytes(pickle.dumps(arrays, protocol=4))
        landmarks = {"lmk_face_idx": np.arange(51), "lmk_b_coords": np.full((51, 3), 1 / 3)}
        Path(folder, "flame_static_embedding.pkl").write_bytes(pickle.dumps(landmarks))
        return smplx.FLAME(folder, num_betas=1, num_expression_coeffs=100, batch_size=batch)


def bound_to(arrays: dict[str, Any]) -> Binding:
    """A point on every vertex of the same head."""
    count, regressor = len(arrays["v_template"]), arrays["J_regressor"]
    directions = arrays["shapedirs"][..., 300:]
    rig = Rig(
        "synthetic",
        RigArrays(
            template=arrays["v_template"],
            faces=np.concatenate([arrays["f"], [[count - 3, count - 2, count - 1]]]),
            uvs=np.zeros((0, 2), np.float32),
            uv_faces=np.zeros((0, 3), np.int64),
            shape_directions=directions[..., :0],
            expression_directions=directions,
            joints=regressor @ arrays["v_template"],
            joint_directions=np.einsum("jv,vce->jce", regressor, directions),
            skinning=arrays["weights"],
            pose_directions=arrays["posedirs"],
        ),
        (-1, 0, 1, 1, 1),
        ("root", "neck", "jaw", "eye.L", "eye.R"),
        (),
        [f"e{i}" for i in range(100)],
    )
    return on_every_vertex(rig, rig.template)


def on_every_vertex(rig: Rig, rest: Tensor, shape: Tensor | None = None) -> Binding:
    face = torch.empty(len(rest), dtype=torch.int64)
    face[rig.faces.flatten()] = torch.arange(len(rig.faces)).repeat_interleave(3)
    return bind(rig, rest, face, shape)


def kibibytes(status: str) -> int:
    """A value of this process in KiB, as Linux gives it."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith(status))


def peak_mib(work: Callable[[], object], device: torch.device) -> float | None:
    """Memory that ``work`` takes at its peak beyond what was held before; None where the system cannot say."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    return_free_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    except OSError:
        return None
    start = kibibytes("VmRSS")
    work()
    return (kibibytes("VmHWM") - start) / 1024


def seconds(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(works: list[Callable[[], object]], rounds: int, device: torch.device) -> list[float]:
    """The least seconds of each, run one after the other in every round, after one round that does not count."""
    taken = [[seconds(work, device) for work in works] for _ in range(rounds + 1)][1:]
    return [min(column) for column in zip(*taken, strict=True)]


def motion(frames: int, joints: int, device: torch.device) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(frames, joints, 3, generator=draw) * 0.3
    found = {
        "expression": torch.rand(frames, 100, generator=draw),
        "vectors": vectors,
        "translation": torch.randn(frames, 3, generator=draw),
    }
    return {name: value.to(device) for name, value in found.items()}


def agree(name: str, ours: Tensor, theirs: Tensor) -> None:
    apart = float((ours - theirs).abs().max())
    if not apart < TOLERANCE:
        raise SystemExit(f"{name} and the binding differ by {apart:.1e} m, more than {TOLERANCE}: no ratio.")


def against_flame(count: int, frames: int, rounds: int, device: torch.device) -> float:
    arrays = flame_like(count)
    bound, moves = bound_to(arrays).to(device), motion(frames, 5, device)

    def ours() -> Tensor:
        return animate(bound, moves["expression"], rotation_matrix(moves["vectors"]), moves["translation"]).points

    own = torch.randn(count, 4, generator=torch.Generator().manual_seed(1))
    own = torch.nn.functional.normalize(own, dim=1).to(device)

    def ours_turned() -> object:
        rotations = rotation_matrix(moves["vectors"])
        return animate(bound, moves["expression"], rotations, moves["translation"], quaternions=own)

    batches = sorted({min(BATCH, frames), frames})
    model = smplx_flame(arrays, frames).to(device)
    del arrays
    names = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")

    def peer(batch: int) -> Tensor:
        out = []
        for start in range(0, frames, batch):
            part = slice(start, start + batch)
            poses = dict(zip(names, moves["vectors"][part].unbind(1), strict=True))
            size = len(moves["expression"][part])
            shift, betas = moves["translation"][part].clone(), torch.zeros(size, 1, device=device)
            out.append(model(betas=betas, expression=moves["expression"][part], transl=shift, **poses).vertices)
        return torch.cat(out)

    agree("smplx.FLAME", ours(), peer(batches[0]))
    works: list[Callable[[], object]] = [ours, ours_turned, *(partial(peer, batch) for batch in batches)]
    times = in_turns(works, rounds, device)
    best = min(range(len(batches)), key=lambda i: times[2 + i])
    memory = [peak_mib(work, device) for work in (ours, works[2 + best])]
    print(
        f"{count:7,} points: ours {times[0]:.3f} s ({times[1]:.3f} s with rotations),"
        f" smplx.FLAME {times[2 + best]:.3f} s in batches of {batches[best]};"
        f" peak memory {shown(memory[0])} and {shown(memory[1])}; ratio {times[2 + best] / times[0]:.1f}",
        flush=True,
    )
    return times[2 + best] / times[0]


def shown(memory: float | None) -> str:
    return "n/a" if memory is None else f"{memory:.0f} MiB"


def against_anny(frames: int, rounds: int, device: torch.device) -> None:
    import anny

    head = anny.Anny(
        rig="makehuman-head",
        topology="head",
        local_changes="all",
        facial_actions="all",
        phenotypes="all",
        skinning_method="lbs",
    ).to(device)
    rig = load_anny()
    shape = rig.shape({})
    nothing = shape[:, :0]
    bound = on_every_vertex(rig, rig.rest(shape, nothing)[0][0], shape).to(device)
    moves = motion(frames, len(JOINTS), device)
    actions = moves["expression"][:, : len(rig.expression_names)]
    rotations = rotation_matrix(moves["vectors"])
    rotations[:, 0] = torch.eye(3, device=device)  # the root's place is another in Anny
    bones = torch.eye(4, device=device).repeat(frames, head.bone_count, 1, 1)
    bones[:, [list(head.bone_labels).index(name) for name in JOINTS], :3, :3] = rotations
    values = dict.fromkeys(head.phenotype_labels, 0.5)
    named = dict(zip(rig.expression_names, actions.unbind(1), strict=True))

    def peer() -> Tensor:
        return head(pose_parameters=bones, phenotype_kwargs=values, local_changes_kwargs={}, facial_actions=named)[
            "vertices"
        ]

    def ours() -> Tensor:
        return animate(bound, actions, rotations).points

    apart = ours() - peer()
    agree("Anny", apart, apart.mean((0, 1)))
    times = in_turns([ours, peer], rounds, device)
    memory = [peak_mib(work, device) for work in (ours, peer)]
    print(
        f"{len(rig.template):7,} points: ours {times[0]:.3f} s, Anny's forward {times[1]:.3f} s;"
        f" peak memory {shown(memory[0])} and {shown(memory[1])}; ratio {times[1] / times[0]:.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=25_000)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-anny", action="store_true", help="leave out Anny, whose model takes long to build")
    options = parser.parse_args()
    device = torch.device(options.device)
    print(f"{options.frames} frames on {device}, {torch.get_num_threads()} threads, best of {options.rounds} rounds")
    with torch.inference_mode():
        if not options.no_anny:
            against_anny(options.frames, options.rounds, device)
        for count in (options.points // 5, options.points * 2):
            against_flame(count, options.frames, 2, device)
        ratio = against_flame(options.points, options.frames, options.rounds, device)
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    main()
