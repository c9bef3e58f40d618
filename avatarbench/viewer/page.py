"""What a path holds, and the page that shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from avatarbench.errors import AvatarbenchError, DataError, UsageError
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.files import read_npz, read_ply
from avatarbench.gaussians.head import SUFFIX, GaussianHead, load_head
from avatarbench.viewer.avatar import AvatarView
from avatarbench.viewer.controls import upward
from avatarbench.viewer.frames_view import FramesView
from avatarbench.viewer.run_frames import RunFrames, avatars_of
from avatarbench.viewer.stage import Up

if TYPE_CHECKING:
    from viser import ClientHandle, ViserServer

HEAD = f"head{SUFFIX}"
"""The avatar in the folder that ``avatarbench fit`` writes."""
FRAMES = "frames"
Shown = GaussianHead | Cloud | RunFrames


class View(Protocol):
    def joined(self, client: ClientHandle) -> None: ...
    def close(self) -> None: ...


def opened(path: Path) -> Shown:
    """An avatar file, a cloud (PLY or .npz), the folder of a fit, or that of a run.

    Raises DataError or UsageError saying what was looked for.
    """
    if path.is_file():
        return _file(path)
    if path.is_dir():
        if (path / HEAD).is_file():
            return _file(path / HEAD)
        if (path / "run.json").is_file():
            return RunFrames(path)
        raise UsageError(f"{path} is the folder of neither a fit (no {HEAD}) nor a run (no run.json).")
    raise UsageError(f"{path} does not exist: check the path.")


def hint_of(path: Path) -> str:
    """What to open instead of a bare cloud that lies beside a fit's avatar; empty for anything else."""
    beside = path.with_name(HEAD)
    if path.suffix.lower() == SUFFIX or not path.is_file() or not beside.is_file():
        return ""
    return f"{path.name} is a bare cloud, which only turns; {beside}, beside it, has sliders."


def _file(path: Path) -> GaussianHead | Cloud:
    readers: dict[str, Callable[[Path], GaussianHead | Cloud]] = {SUFFIX: load_head, ".ply": read_ply, ".npz": read_npz}
    if path.suffix.lower() not in readers:
        raise UsageError(f"{path} is neither an avatar ({SUFFIX}) nor a cloud of Gaussians (.ply, .npz).")
    found = readers[path.suffix.lower()](path)
    if not len(found.cloud if isinstance(found, GaussianHead) else found):
        raise DataError(f"{path} holds no Gaussians: there is nothing to show.")
    return found


def up_of(shown: GaussianHead | Cloud) -> Up:
    """A rig's upward axis; of a bare cloud, whose file does not say, what Anny's is."""
    return upward(shown.rig) if isinstance(shown, GaussianHead) else "z"


class Page:
    """``shown`` on a server's page, under a ``hint``. A run that kept avatars has a choice between its frames and
    them."""

    def __init__(
        self, server: ViserServer, shown: Shown, up: Up | None = None, size: int = 512, hint: str = ""
    ) -> None:
        if hint:
            server.gui.add_markdown(hint)
        self._server, self._shown, self._up, self._size = server, shown, up, size
        self._avatars: dict[str, Path] = {}
        if isinstance(shown, RunFrames):
            self._avatars = {str(path.relative_to(shown.folder)): path for path in avatars_of(shown.folder)}
        self.view: View = self._build(FRAMES)
        server.on_client_connect(lambda client: self.view.joined(client))

    def choose(self, name: str) -> None:
        """Show the run's frames, or an avatar by its path in the run's folder. Raises DataError for a damaged one,
        AssetError for one of a rig that is not here."""
        found = None if name == FRAMES else _file(self._avatars[name])  # before anything is taken away
        self.view.close()
        self._server.gui.reset()
        self._server.scene.reset()
        self.view = self._build(name, found)
        for client in self._server.get_clients().values():
            client.scene.set_background_image(None)
            client.camera.position, client.camera.look_at = (
                self._server.initial_camera.position,
                self._server.initial_camera.look_at,
            )
            self.view.joined(client)

    def close(self) -> None:
        self.view.close()

    def _build(self, name: str, found: GaussianHead | Cloud | None = None) -> View:
        if self._avatars:
            self.choice = self._server.gui.add_dropdown("show", [FRAMES, *self._avatars], initial_value=name)
            self.choice.on_update(lambda _: self._chosen())
            self.trouble = self._server.gui.add_markdown("")
        shown = self._shown if found is None else found
        if isinstance(shown, RunFrames):
            return FramesView(self._server, shown)
        return AvatarView(self._server, shown, self._up or up_of(shown), self._size)

    def _chosen(self) -> None:
        try:
            self.choose(self.choice.value)
        except AvatarbenchError as error:
            self.trouble.content = f"**{error}**"
