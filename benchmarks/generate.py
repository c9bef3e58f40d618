"""Our generation engine beside x-transformers' own ``generate`` with its cache of keys and values.

    python benchmarks/generate.py [--lengths 1024 4096 8192 16384] [--repeats 3] [--whole-peer]
    python benchmarks/generate.py --preset paper --device cuda --batch 8 [--points 25000]

The first form: random weights of the ``mini`` widths in float32, with a window that holds the longest length; the same
prompt, temperature 1, the grammar's mask on both sides, ``attn_flash=True``. 64 tokens are timed after a prefill, which
is not; the two take turns and medians count. Before any time is taken, the logits of both are compared, and where they
differ there is no ratio. Memory is the resident peak of prefill and tokens beyond what the process held before (Linux's
high-water mark, reset). Bandwidth is that of a copy in the same run, read and written bytes; a cache that fits into the
processor's own is read faster. Then a whole cloud of ``mini``, and four subjects at once beside four after each other.
Last line: the peer's seconds a token / ours, at 8,192.

The second form generates whole clouds of a preset with random weights, in bfloat16 on CUDA, and compares their time
with what reading the weights and the caches at the bandwidth of a copy would take.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from x_transformers import AutoregressiveWrapper

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in benchmarks/ alone

from avatarbench.methods.pointillist.config import Generate  # noqa: E402
from avatarbench.methods.pointillist.engine import Engine  # noqa: E402
from avatarbench.methods.pointillist.engine.engine import Stepper  # noqa: E402
from avatarbench.methods.pointillist.presets import load_preset  # noqa: E402
from avatarbench.methods.pointillist.stage_one import StageOne  # noqa: E402
from avatarbench.methods.pointillist.tokenizer import SLOTS, Vocabulary, X, Y  # noqa: E402
from avatarbench.run.progress import progress_bar  # noqa: E402
from benchmarks.rig import peak_mib, shown  # noqa: E402

TIMED = 64
RATIO_AT = 8192
TOLERANCE = 1e-3  # float32 logits after thousands of tokens
BUDGET = 60.0  # seconds after which a length gets no further turn; the one of the ratio gets all
IMAGE_TOKENS = {"vgg16": (196, 512), "dinov2-vitl14-reg": (1374, 1024)}
CPU = torch.device("cpu")


def random_model(preset: str, length: int | None = None, device: torch.device = CPU) -> StageOne:
    """A preset's model, with a window of ``length``. The end's logit is zero among others that are not, so that random
    weights do not end a cloud."""
    window = [] if length is None else [f"window.length={length}", f"window.step={length // 8 * 4}"]
    config = load_preset(preset, window)
    torch.manual_seed(0)
    model = StageOne(config, IMAGE_TOKENS[config.image.encoder]).eval()
    with torch.no_grad():
        model.head.weight.mul_(3)
        model.head.weight[model.vocabulary.end] = 0
    return model.to(device)


def context_of(model: StageOne, count: int) -> Tensor:
    """(count, C, W): as many tokens as the preset's conditioning gives, random."""
    config = model.config
    tokens = IMAGE_TOKENS[config.image.encoder][0] + 1 + config.points.latents
    draw = torch.Generator().manual_seed(1)
    return torch.randn(count, tokens, config.transformer.width, generator=draw).to(model.head.weight.device)


def prompt_of(vocabulary: Vocabulary, length: int) -> Tensor:
    """(1, length): start, and random points in their order."""
    draw = torch.Generator().manual_seed(2)
    points = length // SLOTS - 1
    levels = torch.randint(vocabulary.levels, (points, 3), generator=draw)
    levels[:, Y] = levels[:, Y].sort().values // 2  # half of the levels are left for what follows
    bindings = vocabulary.levels + torch.randint(vocabulary.faces, (points, 1), generator=draw)
    return torch.cat([torch.full((SLOTS,), vocabulary.start), torch.cat([levels, bindings], 1).flatten()])[None]


class Peer:
    """x-transformers' generation, told each token's slot and the grammar by hooks."""

    def __init__(self, model: StageOne, context: Tensor) -> None:
        self.model, self.context = model, context
        self.wrapper = AutoregressiveWrapper(model.transformer)
        self.tokens, self.calls = torch.zeros(1, 0, dtype=torch.long), [0.0]
        self.first = torch.zeros(1, 0)  # the prefill's logits
        model.transformer.register_forward_pre_hook(self._before, with_kwargs=True)

    def _before(self, module: object, arguments: tuple[Tensor], keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        self.calls.append(time.perf_counter())
        self.tokens = arguments[0]
        if not self.model.config.transformer.slots:
            return arguments, keywords
        slot = torch.arange(self.tokens.shape[1])[None] % SLOTS
        return arguments, keywords | {"embed_ids": {"slot": slot}}

    def _mask(self, logits: Tensor) -> Tensor:
        if len(self.calls) == 1:
            self.first = logits
        slot = self.tokens.shape[1] % SLOTS
        floor = self.tokens[:, Y - SLOTS - slot] if slot == Y else self.tokens[:, -1]
        ended = (self.tokens[:, -1] == self.model.vocabulary.end) & (slot != X)
        allowed = self.model.grammar.allowed(slot, floor, ended, torch.zeros_like(ended))
        return logits.masked_fill(~allowed, -torch.inf)

    def generate(self, prompt: Tensor, tokens: int) -> float:
        """Seconds that ``tokens`` tokens took after the first, which the prefill gives."""
        self.calls.clear()
        self.wrapper.generate(
            prompt, tokens + 1, context=self.context, filter_logits_fn=self._mask, temperature=1.0, cache_kv=True
        )
        return time.perf_counter() - self.calls[1]


class Ours:
    def __init__(self, model: StageOne, context: Tensor) -> None:
        self.engine, self.context = Engine(model), context
        self.options = Generate(points=model.config.window.length // SLOTS)

    @torch.inference_mode()
    def start(self, prompt: Tensor) -> Stepper:
        count = len(self.context)
        stepper = self.engine.stepper(self.context, self.options, prompt.shape[1] + TIMED)
        stepper.begin(prompt.expand(count, -1).to(self.engine.device))
        return stepper

    @torch.inference_mode()
    def told(self, prompt: Tensor) -> Tensor:
        """(1, V): the logits after the prompt, of which the last point is fed token by token."""
        stepper = self.start(prompt[:, :-SLOTS])
        for token in prompt[0, -SLOTS:]:
            stepper.feed(token[None])
        return stepper.logits()

    @torch.inference_mode()
    def generate(self, prompt: Tensor, tokens: int) -> float:
        """Seconds that ``tokens`` tokens of every subject took after the prefill."""
        stepper = self.start(prompt)
        draws = np.random.default_rng(0).random((len(self.context), tokens))
        begun = time.perf_counter()
        stepper.points(draws)
        return time.perf_counter() - begun


def in_turns(works: Sequence[Callable[[], float]], repeats: int, budget: float = math.inf) -> list[float]:
    """Medians of what each returns, run one after the other; no turn begins after ``budget`` seconds."""
    found: list[list[float]] = []
    begun = time.perf_counter()
    while len(found) < repeats and not (found and time.perf_counter() - begun > budget):
        found.append([work() for work in works])
    return [statistics.median(column) for column in zip(*found, strict=True)]


def compare(ours: Ours, peer: Peer, prompt: Tensor) -> tuple[float | None, float | None]:
    """The peak memory of ours and the peer's. Exits where a step's logits are not those of the peer's prefill."""
    made: list[Tensor] = []
    memory = [
        peak_mib(work, CPU) for work in (lambda: made.append(ours.told(prompt)), lambda: peer.generate(prompt, 4))
    ]
    apart = float((made[0] - peer.first).abs().max())
    if not apart < TOLERANCE:
        raise SystemExit(f"the logits differ by {apart:.1e} after {prompt.shape[1]} tokens: no ratio.")
    return memory[0], memory[1]


def copied(device: torch.device) -> float:
    """Bytes a second that a copy of half a GiB reads and writes, at best."""
    source = torch.ones(2**27, device=device)
    target = torch.empty_like(source)
    best = math.inf
    for _ in range(6):
        begun = time.perf_counter()
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return 2 * source.nbytes / best


def read_once(engine: Engine, context: int, length: float, subjects: int = 1) -> float:
    """Bytes that a token of every subject must read, after ``length`` tokens: weights once, caches of each."""
    w = engine.packed.weights
    once = sum(t.nbytes for name, t in zip(w._fields, w, strict=True) if name not in ("embedding", "slot", "cross_kv"))
    layers, across, _ = w.cross_q.shape
    return once + subjects * 2 * layers * across * w.head.element_size() * (length + context)


class Row(NamedTuple):
    """Seconds a token and MiB, ours and the peer's, after ``length`` tokens; ``share`` of the bandwidth."""

    length: int
    ours: float
    peer: float
    memory: tuple[float | None, float | None]
    share: float

    def __str__(self) -> str:
        ours, peer = map(shown, self.memory)
        speeds = f"{1 / self.ours:9.0f} {1 / self.peer:11.1f} | {self.peer / self.ours:7.1f}"
        return f"{self.length:8,} | {speeds} | {self.share:11.0%} | {ours:>10} {peer:>12}"


def measure(length: int, repeats: int, ours: Ours, peer: Peer, bandwidth: float) -> Row:
    prompt = prompt_of(peer.model.vocabulary, length)
    memory = compare(ours, peer, prompt)
    budget = math.inf if length == RATIO_AT else BUDGET
    mine, theirs = in_turns([partial(side.generate, prompt, TIMED) for side in (ours, peer)], repeats, budget)
    share = read_once(ours.engine, ours.context.shape[1], length + TIMED / 2) / (mine / TIMED) / bandwidth
    return Row(length, mine / TIMED, theirs / TIMED, memory, share)


def table(rows: Sequence[Row]) -> list[str]:
    sides = f"{'after':>8} | {'ours':>9} {'x-transf.':>11}"
    wide = f"{sides} | {'ratio':>7} | {'bandwidth':^11} | {'ours':>10} {'x-transf.':>12}"
    above = f"{'':>8} | {'tokens a second':^21} | {'':>7} | {'of the copy':^11} | {'peak memory':^23}"
    return [above, wide, *map(str, rows)]


def whole(preset: str, device: torch.device, batch: int, points: int, bandwidth: float) -> str:
    """Clouds of ``points`` points by a preset's own window and policy."""
    model = random_model(preset, device=device)
    engine = Engine(model, torch.bfloat16 if device.type == "cuda" else torch.float32)
    context = context_of(model, batch)
    engine.generate(context, Generate(points=20), range(batch))  # compiles
    made = engine.generate(context, Generate(points=points), range(batch))
    seconds, tokens = max(one.seconds for one in made), max(len(one.tokens) for one in made)
    window = model.config.window.length
    filled = tokens / 2 if tokens < window else 0.75 * window
    least = tokens * read_once(engine, context.shape[1], filled, batch) / bandwidth
    counts = ", ".join(f"{len(one.states) // SLOTS:,}" for one in made)
    return (
        f"{preset} on {device}, batch of {batch}, {counts} points: {seconds:.1f} s, "
        f"{batch * tokens / seconds:,.0f} tokens a second; {least / seconds:.0%} of the bandwidth of a copy"
    )


def whole_by_peer() -> str:
    """The same cloud by x-transformers, which drops its oldest token when the window is full."""
    model = random_model("mini")
    points = model.config.generate.points
    peer = Peer(model, context_of(model, 1))
    seconds = peer.generate(prompt_of(model.vocabulary, 2 * SLOTS), SLOTS * points)
    return f"x-transformers, as many tokens, once, dropping the oldest at a full window: {seconds:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, RATIO_AT, 16384])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--whole-peer", action="store_true", help="let the peer make a whole cloud too: minutes")
    parser.add_argument("--preset", help="only whole clouds of this preset")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--points", type=int, default=25_000)
    options = parser.parse_args()
    device = torch.device(options.device)
    bandwidth = copied(device)
    print(f"{torch.get_num_threads()} threads; a copy reads and writes {bandwidth / 1e9:.1f} GB/s", flush=True)
    if options.preset:
        print(whole(options.preset, device, options.batch, options.points, bandwidth))
        return
    lengths = [length // SLOTS * SLOTS for length in options.lengths]
    model = random_model("mini", max(lengths) + 2 * TIMED)
    ours, peer = Ours(model, context_of(model, 1)), Peer(model, context_of(model, 1))
    for side in (ours, peer):
        side.generate(prompt_of(model.vocabulary, 4 * SLOTS), 4)  # compiles; not timed
    rows = []
    with progress_bar() as bar:
        task = bar.add_task("comparing and timing", total=len(lengths) + 2)
        for length in lengths:
            bar.update(task, description=f"after {length:,} tokens")
            rows.append(measure(length, options.repeats, ours, peer, bandwidth))
            bar.advance(task)
        bar.update(task, description="four subjects")
        four, prompt = Ours(model, context_of(model, 4)), prompt_of(model.vocabulary, lengths[0])
        together, alone = in_turns([partial(side.generate, prompt, TIMED) for side in (four, ours)], 5)
        bar.update(task, advance=1, description="a whole cloud")
        cloud = whole("mini", device, 1, model.config.generate.points, bandwidth)
        bar.advance(task)
    print("\n".join(table(rows)))
    print(
        f"four subjects at once after {lengths[0]:,}: {4 * alone / together:.2f} times as fast as four after each other"
    )
    print(cloud)
    print(whole_by_peer() if options.whole_peer else "x-transformers makes no whole cloud here: --whole-peer")
    ratio = next((row for row in rows if row.length == RATIO_AT), rows[-1])
    if ratio.length != RATIO_AT:
        print(f"the ratio is that after {ratio.length:,} tokens: {RATIO_AT:,} is not among --lengths")
    print(f"ratio: {ratio.peer / ratio.ours:.2f}")


if __name__ == "__main__":
    main()
