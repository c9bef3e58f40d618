"""A run's frames on the page: one sample in a row, a slider through the samples."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from avatarbench.viewer.run_frames import Cell, RunFrames
from avatarbench.viewer.stage import FIELD

if TYPE_CHECKING:
    from viser import ClientHandle, ViserServer

SIDE, GAP = 10.0, 0.5
"""Of a picture and between two, in units of the scene."""
FACING = (math.sqrt(0.5), -math.sqrt(0.5), 0.0, 0.0)
"""Pictures stand upright and are seen from -y: their x stays x, their y (down) becomes -z."""


class FramesView:
    """``run``'s frames, the first sample shown."""

    def __init__(self, server: ViserServer, run: RunFrames) -> None:
        self._server, self._run, self._lock = server, run, threading.Lock()
        self.pictures: list[Any] = []
        cells = run.row(0)
        width = len(cells) * (SIDE + GAP)
        server.scene.set_up_direction("+z")
        camera = server.initial_camera
        target = np.array([width * 0.1, 0.0, 0.0])  # the sliders cover the page's right edge
        camera.position = target - np.array([0, max(width * 0.6, SIDE) / math.tan(FIELD / 2) * 0.75, 0])
        camera.look_at, camera.fov = target, FIELD
        for place, cell in enumerate(cells):
            x = (place + 0.5) * (SIDE + GAP) - width / 2
            self.pictures.append(
                server.scene.add_image(
                    f"/frames/{place}", cell.image, SIDE, SIDE, format="png", wxyz=FACING, position=(x, 0, 0),
                    cast_shadow=False, receive_shadow=False,
                )
            )  # fmt: skip
            server.scene.add_label(f"/titles/{place}", cell.title, position=(x, 0, SIDE * 0.53), anchor="bottom-center")
        gui, last = server.gui, len(run.pairs) - 1
        gui.add_markdown(f"**{run.record.id}**, {len(run.pairs)} samples")
        if last:
            self.slider = gui.add_slider("sample", 0, last, 1, 0)
            self.slider.on_update(lambda _: self._turn())
        self.text = gui.add_markdown(self._text(0, cells))

    def joined(self, client: ClientHandle) -> None:
        """A page was opened: it has all there is."""

    def close(self) -> None:
        """Nothing runs."""

    def _turn(self) -> None:
        with self._lock:  # each event comes on a thread of its own; the last to come shows the newest value
            index = self.slider.value
            cells = self._run.row(index)
            for picture, cell in zip(self.pictures, cells, strict=True):
                picture.image = cell.image
            self.text.content = self._text(index, cells)

    def _text(self, index: int, cells: Sequence[Cell]) -> str:
        lines = [f"`{self._run.pairs[index].id}`", ""]
        lines += [f"- {cell.title}: {cell.why}" for cell in cells if cell.why]
        scores = self._run.scores(index)
        methods = list(dict.fromkeys(method for method, _, _ in scores))
        if not methods:
            return "\n".join(lines)
        lines += ["", "| | " + " | ".join(methods) + " |", "|---" * (len(methods) + 1) + "|"]
        table = {(method, metric): value for method, metric, value in scores}
        for metric in dict.fromkeys(metric for _, metric, _ in scores):
            lines.append(f"| {metric} | " + " | ".join(table.get((m, metric), "") for m in methods) + " |")
        return "\n".join(lines)
