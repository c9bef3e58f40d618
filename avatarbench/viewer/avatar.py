"""An avatar, or a still cloud, on the page: its splats, its sliders, and the thread that keeps the two in step."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import torch

from avatarbench.errors import reason_of
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import GaussianHead
from avatarbench.gaussians.render import render
from avatarbench.viewer import controls
from avatarbench.viewer.stage import FIELD, RADIUS, Stage, Up

if TYPE_CHECKING:
    from viser import CameraHandle, ClientHandle, GuiEvent, ViserServer

FPS = 25.0
"""Of the animation, at most."""
STILL = """This cloud is bound to no rig's head, so that nothing can drive it: it only turns.
`avatarbench fit` and the avatar file (`.avatar`) that it writes give a head with sliders."""


class AvatarView:
    """``shown``: a head to drive, or a cloud to turn; ``up``: its upward axis; ``size``: height of our own picture,
    pixels.

    Everything is changed on one thread of the view's own, woken by the page's events: a slider that is dragged fires
    faster than a large cloud can be posed, and only the newest values count.
    """

    def __init__(self, server: ViserServer, shown: GaussianHead | Cloud, up: Up, size: int) -> None:
        self._server, self._size = server, size
        self._head = shown if isinstance(shown, GaussianHead) else None
        mesh = None if self._head is None else self._head.vertices(*self._head.neutral())
        cloud = shown.posed(*shown.neutral()) if isinstance(shown, GaussianHead) else shown
        self.cloud = cloud.detach()
        self.stage = Stage.around(self.cloud, up, mesh)
        self.sliders: dict[str, Any] = {}
        self._posed: dict[str, float] = {}
        self._changed, self._over, self._begun = threading.Event(), False, time.perf_counter()
        self._looked_at()
        self.splats = server.scene.add_gaussian_splats("/avatar", *self.stage.splats(self.cloud))
        self._panel()
        self._worker = threading.Thread(target=self._work, name="avatar view", daemon=True)
        self._worker.start()

    def show(self, values: dict[str, float]) -> None:
        """Sliders to ``values`` by label, all others to zero."""
        for label, slider in self.sliders.items():
            slider.value = values.get(label, 0.0)

    def joined(self, client: ClientHandle) -> None:
        """A page was opened: our own picture follows its camera."""

        @client.camera.on_update
        def _(_: CameraHandle) -> None:
            if self.exact.value:
                self._changed.set()

        self._changed.set()  # a page opened while our own picture is shown has none yet

    def close(self) -> None:
        """Stop the thread. The page's elements go with the server."""
        self._over = True
        self._changed.set()
        self._worker.join()

    def _looked_at(self) -> None:
        self._server.scene.set_up_direction(tuple(self.stage.upward))
        camera = self._server.initial_camera
        camera.position, camera.look_at = self.stage.first_camera()
        camera.fov, camera.near, camera.far = FIELD, RADIUS / 50, RADIUS * 100

    def _panel(self) -> None:
        gui = self._server.gui
        self._about = gui.add_markdown(self._text())
        self.trouble = gui.add_markdown("")
        self.exact = gui.add_checkbox(
            "exact picture", False, hint="Drawn by this package's own renderer, as metrics see it; slower."
        )
        self.exact.on_update(self._wake)
        if self._head is None:
            gui.add_markdown(STILL)
            return
        presets = controls.presets_of(self._head.rig)
        self.presets = gui.add_button_group("expression", list(presets))
        self.presets.on_click(lambda event: self.show(presets[event.target.value]))
        gui.add_button("reset").on_click(lambda _: self.show({}))
        self.play = gui.add_checkbox("play", False, hint="The head turns while the expressions come and go.")
        self.play.on_update(self._wake)
        folders: dict[str, Any] = {}
        for control in controls.controls_of(self._head.rig):
            if control.folder not in folders:
                folders[control.folder] = gui.add_folder(control.folder, expand_by_default=control.folder == "head")
            with folders[control.folder]:
                slider = gui.add_slider(
                    control.label, float(control.low), float(control.high), float(control.step), 0.0
                )
            slider.on_update(self._wake)
            self.sliders[control.label] = slider

    def _text(self, seconds: float | None = None) -> str:
        rate = "" if seconds is None else f", posed {1 / max(seconds, 1e-6):.0f} times a second"
        rig = "no rig" if self._head is None else f"rig {self._head.rig.name}"
        return f"**{len(self.cloud):,} Gaussians**, {rig}{rate}"

    def _wake(self, _: GuiEvent[Any]) -> None:
        self._changed.set()

    def _work(self) -> None:
        due = 0.0
        while not self._over:
            playing = self._head is not None and self.play.value
            if playing:  # by the clock alone: the sliders that are moved here wake this thread too
                time.sleep(max(0.0, due - time.perf_counter()))
                due = max(due, time.perf_counter()) + 1 / FPS
            else:
                self._changed.wait()
            self._changed.clear()
            try:
                self._step(playing)
                trouble = ""
            except Exception as error:  # whatever it was, the page's only thread lives on for the next values
                trouble = f"**This cannot be shown: {reason_of(error)}**"
            if self.trouble.content != trouble:
                self.trouble.content = trouble

    def _step(self, playing: bool) -> None:
        if self._head is not None and playing:
            self.show(controls.animation(self._head.rig, time.perf_counter() - self._begun))
        now = {label: slider.value for label, slider in self.sliders.items()}
        if self._head is not None and now != self._posed:
            self._pose(self._head, now)
            self._posed = now
        self._draw()

    def _pose(self, head: GaussianHead, values: dict[str, float]) -> None:
        begun = time.perf_counter()
        with torch.no_grad():
            expression, joints = controls.pose_of(head.rig, values)
            self.cloud = head.posed(expression, joints, head.neutral()[2])
        seconds = time.perf_counter() - begun
        self.splats.set_gaussians(*self.stage.splats(self.cloud))
        self._about.content = self._text(seconds)

    def _draw(self) -> None:
        """The page's splats, or each page's own picture from where its camera stands."""
        exact = self.exact.value
        was, self.splats.visible = not self.splats.visible, not exact
        if not (exact or was):
            return
        for client in self._server.get_clients().values():
            client.scene.set_background_image(self.picture(client.camera) if exact else None, format="png")

    def picture(self, camera: CameraHandle) -> Any:
        """(H, W, 3) uint8 over white: the cloud as our renderer draws it for a page's camera."""
        shape = max(camera.image_width, 1) / max(camera.image_height, 1)
        width = max(1, round(self._size * shape))
        ours = self.stage.camera(camera.wxyz, camera.position, camera.fov, width, self._size)
        with torch.no_grad():
            image = render(self.cloud, [ours], background=torch.ones(3)).image[0]
        return (image.clamp(0, 1) * 255).round().byte().numpy()
