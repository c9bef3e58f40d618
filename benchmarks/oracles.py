"""The largest relative difference of every metric to an independent implementation, and to itself in other batches.

    python benchmarks/oracles.py

Metrics whose weights are not public in a registry are compared from one randomly initialised file. ``n/a`` stands where
a row's batches were not compared, since another row of the metric does so.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in benchmarks/ alone

from avatarbench.metrics.clip import ClipEmbedding  # noqa: E402
from avatarbench.metrics.fid import Fid  # noqa: E402
from avatarbench.metrics.inception import Inception  # noqa: E402
from avatarbench.metrics.kid import Kid  # noqa: E402
from benchmarks.frames import Frames, Picture  # noqa: E402
from tests.oracles import reference  # noqa: E402
from tests.oracles.reference import relative  # noqa: E402

PAIRS = 8
Row = tuple[str, str, float, float | None]


def pixel_metrics(pairs: list[tuple[Picture, Picture]]) -> Iterator[Row]:
    for name, other, function in (
        ("psnr", "scikit-image", reference.psnr_skimage),
        ("psnr", "torchmetrics", reference.psnr_torchmetrics),
        ("ssim", "scikit-image", reference.ssim_skimage),
        ("ssim", "torchmetrics, inside the border", reference.ssim_torchmetrics),
    ):
        one, eight = (reference.ours_on_pairs(name, pairs, batch) for batch in (1, 8))
        yield name, other, _worst(eight, [function(*pair) for pair in pairs]), _worst(one, eight)


def perceptual_metrics(pairs: list[tuple[Picture, Picture]]) -> Iterator[Row]:
    for net in ("alex", "vgg"):
        model = reference.lpips_package(net)
        with torch.inference_mode():
            theirs = [model(*map(reference.lpips_input, pair)).item() for pair in pairs]
        one, eight = (reference.ours_on_pairs(f"lpips-{net}", pairs, batch) for batch in (1, 8))
        yield f"lpips-{net}", "lpips 0.1.4, same weights", _worst(eight, theirs), _worst(one, eight)


def face_metrics(pairs: list[tuple[Picture, Picture]]) -> Iterator[Row]:
    from benchmarks.peer import Peer

    peer = Peer()
    theirs = [peer.score(*pair) for pair in pairs]
    peer.close()
    for name, other in (
        ("akd-mediapipe", "mediapipe, numpy"),
        ("apd-mediapipe", "mediapipe, scipy rotations"),
        ("aed-mediapipe", "mediapipe, numpy"),
        ("csim-dlib", "dlib, whole image"),
    ):
        one, eight = (reference.ours_on_pairs(name, pairs, batch) for batch in (1, 8))
        yield name, other, _worst(eight, [row[name] for row in theirs]), _worst(one, eight)


def set_metrics(pairs: list[tuple[Picture, Picture]], folder: Path) -> Iterator[Row]:
    predictions, targets = [p for p, _ in pairs], [t for _, t in pairs]
    model = reference.torchvision_vgg()
    features = [np.stack([reference.vgg_pooled(model, i) for i in side]) for side in (predictions, targets)]
    one, eight = (reference.ours_on_sets("fd-vgg", predictions, targets, batch) for batch in (1, 8))
    yield (
        "fd-vgg",
        "torchvision, scipy sqrtm",
        relative(eight, reference.frechet_scipy(*features)),
        relative(one, eight),
    )
    weights = reference.random_inception(folder / "inception.pth")
    theirs = [reference.inception_torch_fidelity(weights, side) for side in (predictions, targets)]
    network = Inception(weights=weights)
    ours = [_rows(network, "pooled", side, len(side)) for side in (predictions, targets)]
    moved = [_rows(network, "pooled", side, 1) for side in (predictions, targets)]
    fid, kid = Fid(), Kid()
    value, again = (fid.value(*map(fid.statistics, rows)) for rows in (ours, moved))
    yield "fid", "torch-fidelity", relative(value, reference.frechet_torch_fidelity(*theirs)), relative(again, value)
    narrow = [rows[:, :64] for rows in theirs]  # scipy takes minutes for the root of a singular 2048 x 2048 matrix
    part = fid.value(*map(fid.statistics, narrow))
    yield "fid", "pytorch-fid's distance, 64 features", relative(part, reference.frechet_pytorch_fid(*narrow)), None
    large = Frames(299)  # pytorch-fid's own resize is another one, and does nothing at this size
    sides = [[make(20 * n) for n in range(PAIRS)] for make in (large.prediction, large.target)]
    value = fid.value(*(fid.statistics(_rows(network, "pooled", side, PAIRS)) for side in sides))
    other = reference.frechet_torch_fidelity(*(reference.inception_pytorch_fid(weights, side) for side in sides))
    yield "fid", "pytorch-fid's network at 299 px", relative(value, other), None
    value, again = (kid.value(*map(kid.statistics, rows)) for rows in (ours, moved))
    yield (
        "kid",
        "torch-fidelity",
        relative(value, reference.kid_torch_fidelity(theirs[0], theirs[1], PAIRS)),
        relative(again, value),
    )
    yield "kid", "torchmetrics", relative(value, reference.kid_torchmetrics(*theirs)), relative(again, value)


def clip_metric(pairs: list[tuple[Picture, Picture]], folder: Path) -> Iterator[Row]:
    weights = reference.random_clip(folder / "clip.safetensors")
    images = [image for pair in pairs[:3] for image in pair]
    theirs = reference.clip_embedding(weights, images)
    network = ClipEmbedding(weights=weights)
    ours, moved = (_cosines(_rows(network, "embedding", images, size)) for size in (len(images), 1))
    yield "clip", "open_clip", _worst(ours, _cosines(theirs)), _worst(moved, ours)


def _rows(network: Inception | ClipEmbedding, output: str, images: list[Picture], batch: int) -> np.ndarray:
    rows = []
    for start in range(0, len(images), batch):
        frames = reference.frames(images[start : start + batch])
        rows += [found[output] for found in network.extract(frames, False)]  # type: ignore[index]
    return np.stack(rows)


def _cosines(rows: np.ndarray) -> list[float]:
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return [float(a @ b) for a, b in zip(unit[::2], unit[1::2], strict=True)]


def _worst(ours: list[float], theirs: list[float]) -> float:
    return max(relative(a, b) for a, b in zip(ours, theirs, strict=True))


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1e}"


def main() -> None:
    frames = Frames(256)
    pairs = [(frames.prediction(20 * n), frames.target(20 * n)) for n in range(PAIRS)]
    print(f"{'metric':<16} {'against':<36} {'difference':>10} {'batch 1 vs 8':>13}")
    with tempfile.TemporaryDirectory() as name:
        for rows in (
            pixel_metrics(pairs),
            perceptual_metrics(pairs),
            face_metrics(pairs),
            set_metrics(pairs, Path(name)),
            clip_metric(pairs, Path(name)),
        ):
            for metric, other, difference, moved in rows:
                print(f"{metric:<16} {other:<36} {difference:>10.1e} {_figure(moved):>13}", flush=True)


if __name__ == "__main__":
    main()
