"""What training costs: floating-point operations of a step by both presets, and `mini`'s measured rate.

    python benchmarks/training_cost.py [--seconds S] [--tflops 312,989] [--utilisation 0.4]

Operations are counted by PyTorch's own counter over shapes alone, nothing is computed: so `paper` can be counted
where it could never run. A step is the forward pass and twice that for the backward pass, once more for what is
computed anew under gradient checkpointing; attention counts as if no token were masked. ``--seconds``: of one core
for a step of mini's stage one, as the training's page has them. The hours of `paper` are an estimate: steps times
operations over what a GPU does at its peak (``--tflops``, dense bfloat16 as its maker states: A100 312, H100 989)
times a share that trainings of this size commonly reach (``--utilisation``). Frozen encoders, rendering, LPIPS and
reading data are not in it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in benchmarks/ alone

from avatarbench.methods.pointillist.decoder.model import Decoder  # noqa: E402
from avatarbench.methods.pointillist.decoder.presets import load_decoder_preset  # noqa: E402
from avatarbench.methods.pointillist.presets import load_preset  # noqa: E402
from avatarbench.methods.pointillist.stage_one import StageOne  # noqa: E402
from avatarbench.methods.pointillist.tokenizer import SLOTS  # noqa: E402

IMAGE = {"mini": (196, 512), "paper": (1374, 1024)}
"""Tokens of a portrait and their width: VGG16's relu5_3 at 224 pixels, DINOv2 ViT-L/14 with registers at 518."""
POINTS = {"mini": 1_080, "paper": 26_000}
"""Of a head: what mini draws, and the middle of the paper's 22,000 to 30,000."""


def counted(make: Callable[[], Any], run: Callable[[Any], Any]) -> tuple[float, float]:
    """Parameters and operations of one forward pass, of shapes alone."""
    with FakeTensorMode():
        model = make()
        with FlopCounterMode(display=False) as counter:
            run(model)
        return float(sum(p.numel() for p in model.parameters())), float(counter.get_total_flops())


def stage_one(preset: str) -> tuple[float, float, int, int]:
    """Parameters, operations of a training step, steps, tokens a step."""
    config, (count, width) = load_preset(preset), IMAGE[preset]

    def forward(model: StageOne) -> None:
        context = model.condition(torch.zeros(1, count, width), torch.zeros(1, config.points.samples, 6))
        model(torch.zeros(1, config.window.length, dtype=torch.long), context)

    parameters, operations = counted(lambda: StageOne(config, IMAGE[preset]), forward)
    passes = 4 if config.train.checkpointing else 3
    train = config.train
    return parameters, operations * passes * train.batch, train.steps, train.batch * config.window.length


def stage_two(preset: str) -> tuple[float, float, int, int]:
    """The same, with points for tokens."""
    config, (count, width) = load_decoder_preset(preset), IMAGE[preset]
    ar_width, points = load_preset(preset).transformer.width, POINTS[preset]

    def forward(model: Decoder) -> None:
        model(torch.zeros(1, points, 3), torch.zeros(1, points, SLOTS, ar_width), torch.zeros(1, count, width))

    parameters, operations = counted(lambda: Decoder(config, IMAGE[preset], ar_width), forward)
    passes = 4 if config.train.checkpointing else 3
    return parameters, operations * passes * config.train.batch, config.train.steps, config.train.batch * points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.22, help="of one core, for a step of mini's stage one")
    parser.add_argument("--tflops", default="312,989", help="peaks of GPUs, TFLOP/s, commas between")
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of the peak that is reached")
    given = parser.parse_args()
    peaks = [float(one) for one in given.tflops.split(",")]
    print("stage  preset  parameters (M)  TFLOP a step     steps  tokens or points a step")
    found = {}
    for name, count in (("one", stage_one), ("two", stage_two)):
        for preset in IMAGE:
            parameters, operations, steps, tokens = found[name, preset] = count(preset)
            print(f"{name:5}  {preset:6}  {parameters / 1e6:14.1f}  {operations / 1e12:12.3f}  {steps:8}  {tokens:10}")
    rate = found["one", "mini"][1] / given.seconds
    print(f"mini, stage one, at {given.seconds} s a step of one core: {rate / 1e9:.0f} GFLOP/s")
    for name in ("one", "two"):
        _, operations, steps, _ = found[name, "paper"]
        hours = [operations * steps / (peak * 1e12 * given.utilisation) / 3600 for peak in peaks]
        each = ", ".join(f"{h:.0f} h at {p:.0f} TFLOP/s" for h, p in zip(hours, peaks, strict=True))
        print(f"paper, stage {name}, estimated for one GPU at {given.utilisation:.0%} of its peak: {each}")
    print(f"ratio: {found['one', 'paper'][1] / found['one', 'mini'][1]:.0f}")


if __name__ == "__main__":
    main()
