"""A studio that paints instead of rendering, and a crew of one worker in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from avatarbench.method import Camera
from avatarbench.openheads.identity import Identity
from avatarbench.openheads.state import HeadState
from avatarbench.openheads.studio import Picture
from avatarbench.openheads.worker import Job, Worker


class PaintingStudio:
    """Its picture tells who, in what state, from where and with what noise: any mix-up changes pixels."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    def render(self, state: HeadState, camera: Camera, samples: int = 32, seed: int = 0) -> Picture:
        draw = np.random.default_rng(
            [self.identity.index, samples, seed, *(np.abs(state.expression) * 1e6).astype(int)]
            + [int(1e6 * abs(number)) for number in camera.world_to_camera.ravel()]
        )
        rgb = draw.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)
        return Picture(rgb, draw.random((camera.height, camera.width), dtype=np.float32))


class Never:
    def is_set(self) -> bool:
        return False


@dataclass
class Inline:
    """``crew.run`` in this process: the same order, one job at a time. ``limit``: jobs until Ctrl-C is pressed."""

    limit: int | None = None
    done: list[Job] = field(default_factory=list)

    def __call__(self, jobs: Iterable[Job], workers: int, then: Callable[[Job, int], Iterable[Job]]) -> None:
        worker, ready, waiting = Worker(Never()), deque[Job](), iter(jobs)
        try:
            while True:
                job = ready.popleft() if ready else next(waiting, None)
                if job is None:
                    return
                if self.limit is not None and len(self.done) >= self.limit:
                    raise KeyboardInterrupt
                result = worker.do(job)
                self.done.append(job)
                ready.extend(then(job, result))
        finally:
            worker.close()
