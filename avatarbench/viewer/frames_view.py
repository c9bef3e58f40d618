"""A run's frames on the page: one sample at a time, a slider through the samples."""

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

SIDE, GAP, TITLE = 10.0, 0.5, 1.5
"""Of a picture, between two, and for the title above, in units of the scene."""
FACING = (math.sqrt(0.5), -math.sqrt(0.5), 0.0, 0.0)
"""Pictures stand upright and are seen from -y: their x stays x, their y (down) becomes -z."""


class FramesView:
    """``run``'s frames, the first sample shown."""

    def __init__(self, server: ViserServer, run: RunFrames) -> None:
        self._server, self._run, self._lock = server, run, threading.Lock()
        self.pictures: list[Any] = []
        cells = run.row(0)
        across = min(len(cells), math.ceil(math.sqrt(1.5 * len(cells))))
        down = math.ceil(len(cells) / across)
        width, height = across * (SIDE + GAP), down * (SIDE + TITLE)
        self._looked_at(width, height)
        for place, cell in enumerate(cells):
            row, column = divmod(place, across)
            x, z = (column + 0.5) * (SIDE + GAP) - width / 2, height / 2 - TITLE - SIDE / 2 - row * (SIDE + TITLE)
            self.pictures.append(
                server.scene.add_image(
                    f"/frames/{place}", cell.image, SIDE, SIDE, format="png", wxyz=FACING, position=(x, 0, z),
                    cast_shadow=False, receive_shadow=False,
                )
            )  # fmt: skip
            server.scene.add_label(
                f"/titles/{place}", cell.title, position=(x, 0, z + SIDE * 0.52), anchor="bottom-center"
            )
        gui, last = server.gui, len(run.pairs) - 1
        gui.add_markdown(f"**{run.record.id}**, {len(run.pairs)} samples")
        if last:
            self.slider = gui.add_slider("sample", 0, last, 1, 0)
            self.slider.on_update(lambda _: self._turn())
        self.text = gui.add_markdown(self._text(0, cells))

    def _looked_at(self, width: float, height: float) -> None:
        """The camera before a sheet of that size, in the part of a wide page that the sliders leave free."""
        half = max(height, width / 1.3) / 2 * 1.05
        target = np.array([0.4 * half, 0.0, 0.0])
        self._server.scene.set_up_direction("+z")
        camera = self._server.initial_camera
        camera.position = target - np.array([0, half / math.tan(FIELD / 2), 0])
        camera.look_at, camera.fov = target, FIELD

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
        lines = [self._run.pairs[index].id.replace("/", " / "), ""]
        lines += [f"- {cell.title}: {cell.why}" for cell in cells if cell.why]
        scores = self._run.scores(index)
        if not scores:
            return "\n".join(lines)
        methods = self._run.methods
        lines += ["", "| | " + " | ".join(methods) + " |", "|---" * (len(methods) + 1) + "|"]
        table = {(method, metric): value for method, metric, value in scores}
        for metric in dict.fromkeys(metric for _, metric, _ in scores):
            lines.append(f"| {metric} | " + " | ".join(table.get((m, metric), "") for m in methods) + " |")
        return "\n".join(lines)
