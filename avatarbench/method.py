"""The method contract: one portrait in, an avatar out, and the avatar rendered under a motion.

Import-light on purpose: listing methods imports neither torch nor numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from avatarbench.errors import AvatarbenchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

Status = Literal["reproduced", "working", "unverified", "unavailable"]
"""``reproduced``: its published numbers were met; ``working``: it runs, they were not; ``unverified``: written,
never run on the real code; ``unavailable``: no public code."""

Need = Literal["image", "mediapipe", "flame", "camera", "target", "views"]
"""What a method reads of a motion or a portrait. ``target`` is the true frame, which only protocols with truth have;
``views`` are further pictures of the source person (:class:`Views`), which no one-shot method may see."""

Want = Literal["mediapipe", "flame", "camera"]
"""What a method may read where it is there, and do without where it is not."""

Background = Literal["kept", "white", "black"]
"""What is behind the person: what was there, or one colour, by the data's masks."""

Role = Literal["method", "bound"]
"""A ``bound`` is shown in tables and never ranked: a floor, a ceiling, or a reference that needs ``views``."""


@dataclass(frozen=True)
class Framing:
    """The frame that a method's own code works in, where that is not the protocol's.

    Its pictures, masks, landmarks and cameras are then of a square of ``scale`` times the face (None: the protocol's
    square), ``size`` pixels wide, with ``background`` behind the person (None: the protocol's), and it renders in that
    frame. The harness brings the result into the protocol's frame by one Lanczos resampling, with the protocol's colour
    where the method's square does not reach. With ``alpha`` the method renders (H, W, 4), the last channel being how
    much of a pixel is the person's, and the harness sets it on the protocol's background; without, a background of
    another colour than the protocol's stays, and the run says so.
    """

    size: int
    scale: float | None = None
    background: Background | None = None
    alpha: bool = False


@dataclass(frozen=True)
class MethodSpec:
    """All that can be said of a method without importing it.

    ``factory`` is ``"package.module:Class"``; the class is called with the method's options as keywords and returns a
    :class:`Method`. A protocol that lacks one of ``needs`` cannot be run; ``wants`` are filled in where the protocol
    provides them and the run's data has them. Only a ``bound`` may need ``target`` or ``views``: AvatarbenchError
    otherwise. ``ships``: files of the installation, ``package:path``, that it reads unless its options name
    others. ``brings``: options that have to be given, since the files that they name do not ship. ``tracker`` names the
    detector that drives it, so that a table can say when the judge is the same.
    ``framing``: its own crop and background; None for one that works in the protocol's frame.
    """

    id: str
    name: str
    summary: str
    factory: str
    status: Status
    licence_code: str
    licence_weights: str = "no weights"
    paper: str = ""
    repository: str = ""
    commit: str = ""
    environment: str = "inprocess"
    assets: tuple[str, ...] = ()
    ships: tuple[str, ...] = ()
    brings: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ("image",)
    wants: tuple[Want, ...] = ()
    tracker: str | None = None
    trained_on: tuple[str, ...] = ()
    role: Role = "method"
    notes: str = ""
    framing: Framing | None = None

    def __post_init__(self) -> None:
        if unknown := set(self.wants) - set(get_args(Want)):
            raise AvatarbenchError(
                f"the method '{self.id}' wants {', '.join(sorted(unknown))}: a want is one of "
                f"{', '.join(get_args(Want))}; make everything else a need."
            )
        if self.role != "bound" and (seen := {"target", "views"} & set(self.needs)):
            raise AvatarbenchError(
                f"the method '{self.id}' needs {', '.join(sorted(seen))}, which no ranked method may see: give it the "
                "role 'bound', or do without."
            )


@dataclass(frozen=True)
class FaceTrack:
    """What a face tracker read off one image. A tracker's output, never truth.

    ``landmarks``: (478, 3) float32, x and y in pixels of the image, z in the same scale;
    ``arkit``: (52,) float32 in [0, 1], ordered as :data:`avatarbench.metrics.face.ARKIT_NAMES`;
    ``head``: (4, 4) float32, canonical face to camera, centimetres (MediaPipe's axes: x right, y up, z to the viewer);
    ``faces``: how many faces were in the image; the largest is the one described.
    """

    landmarks: NDArray[np.float32]
    arkit: NDArray[np.float32]
    head: NDArray[np.float32]
    faces: int = 1


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, OpenCV axes. ``K``: (3, 3) pixels; ``world_to_camera``: (4, 4) metres; size in pixels."""

    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    width: int
    height: int


@dataclass(frozen=True)
class FlameParameters:
    """FLAME parameters of one frame as VHAP exports them (axis-angle radians, metres).

    ``shape`` (300,), ``expr`` (100,), ``rotation`` (3,), ``neck_pose`` (3,), ``jaw_pose`` (3,), ``eyes_pose`` (6,),
    ``translation`` (3,), ``static_offset`` (V, 3) or None.
    """

    shape: NDArray[np.float32]
    expr: NDArray[np.float32]
    rotation: NDArray[np.float32]
    neck_pose: NDArray[np.float32]
    jaw_pose: NDArray[np.float32]
    eyes_pose: NDArray[np.float32]
    translation: NDArray[np.float32]
    static_offset: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Views:
    """Where the person of a portrait is seen from many sides. ``person``: the name of its folder in ``root``, which is
    laid out as NeRSemble.

    ``avatar``: the file of an avatar that was fitted beforehand and ships with the data; None where there is none.
    ``held_out``: recordings (NeRSemble's sequences, of all cameras) that drive the run or hold its true frames: a
    method that learns from one of them has seen the answer.
    """

    person: str
    root: Path
    avatar: Path | None
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class Portrait:
    """The single source image. ``image``: (H, W, 3) uint8 sRGB; ``mask``: (H, W) float32 in [0, 1], 1 is foreground.

    ``face``, ``flame``, ``camera`` and ``views`` are filled in where the method's ``needs`` and ``wants`` declare them;
    ``flame``, and the ``camera`` that goes with it, only where the source was tracked: what needs it of the motion
    may track the source itself.
    """

    id: str
    image: NDArray[np.uint8]
    mask: NDArray[np.float32] | None = None
    face: FaceTrack | None = None
    flame: FlameParameters | None = None
    camera: Camera | None = None
    views: Views | None = None


@dataclass(frozen=True)
class Motion:
    """One driving frame. ``image``: the driver, (H, W, 3) uint8 sRGB, in the protocol's frame or the method's own.

    Only what the method's ``needs`` and ``wants`` declare is filled in; ``target`` is None unless the method needs it
    and the protocol has it. ``camera`` is the one that the driver's frame was taken with, in pixels of ``image``;
    beside ``flame`` it is the tracker's, in whose space those parameters are.
    ``index`` counts the frames of one driver sequence from 0, in temporal order.
    """

    id: str
    index: int
    image: NDArray[np.uint8]
    face: FaceTrack | None = None
    flame: FlameParameters | None = None
    camera: Camera | None = None
    target: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Site:
    """Where a run has a method work, for one that keeps files or processes, and whom it tells.

    ``folder``: not there yet; the method's to make, and to leave empty or remove. ``note``: for a reader of the run;
    ``restarted``: why a process of its own was started again; ``say``: for whoever waits.
    """

    folder: Path
    note: Callable[[str], None]
    restarted: Callable[[str], None]
    say: Callable[[str], None]


class Avatar(Protocol):
    """What :meth:`Method.build` returns.

    It may also have ``info``, a mapping of names to numbers; ``info["gaussians"]`` is shown in tables; and
    ``save(path: Path) -> None``, which writes the avatar as one file at ``path``, whatever that ends in: a run keeps it
    as ``avatars/METHOD/SOURCE.avatar``, and ``avatarbench view`` drives it where it is a
    :class:`avatarbench.gaussians.head.GaussianHead`'s. An exception there costs no frame and is noted.

    It may have ``announce(motions: Sequence[Motion]) -> None``, for code that only renders whole sequences: called once
    before its frames with all that the run has for it, those of an earlier session too, so that what a frame becomes
    does not depend on where a run was interrupted. Several drivers' sequences may follow each other; ``index`` counts
    within each. ``motions`` reads a picture when it is asked for it: going over them one by one holds few in memory.
    Its seconds are shared over the frames; an exception costs them all.

    ``seed(value: int) -> None``, where it is there, is told before each call what the draws of that call start from,
    for one whose draws are not those of this process, which is seeded in any case. ``lost_seconds`` is what of its
    last call no undisturbed run would have taken (a process that was started again).
    """

    def render(self, motion: Motion) -> NDArray[np.generic]:
        """The avatar under ``motion``, in the frame of the driver's picture: (H, W, 3) in the portrait's size, uint8
        sRGB or floating point in [0, 1]; (H, W, 4) where the method's ``framing`` has alpha.

        Raise :class:`avatarbench.errors.Unscorable` for a motion that cannot be followed (no face in the driver); any
        exception, NaN, other size or other dtype costs that frame alone and is recorded with its reason.
        """
        ...


class Method(Protocol):
    """A head-avatar method. Constructed once a run, from ``MethodSpec.factory``.

    It may have a class method ``obstacles(**options) -> Sequence[str]``, asked before any work with the run's options:
    why it could not be set up, a line each; nothing where it can.
    It may have a class method ``origin(**options) -> Mapping``, plain values for the record of what is run that options
    do not tell: ``weights``, by the option that names a file, its ``path``, ``size`` and ``sha256``
    (``avatarbench.isolation.weights.entry``). Two runs of other weights stand in no row together, wherever they lie.
    One that needs ``views`` may also have a static ``lacking(people: Sequence[Views]) -> Sequence[str]``, asked before
    any work: why :meth:`build` could not work from their views, a line each; nothing where it can.

    One with an environment of its own may have a class method ``prepare(**options) -> Sequence[str]``, called before
    any work once nothing else is missing: makes ready what takes long, and says what failed, a line each.

    It may have ``open(site: Site) -> None``, called before the first build (an exception costs all of its frames), and
    ``close() -> None``, called after the last, interrupted or not; ``describe() -> Mapping`` of plain values, what the
    record says of where it runs; ``peak_memory_mib``, where its work is done in other processes than this one; and
    ``seed`` and ``lost_seconds`` as an avatar, of :meth:`build`.
    """

    def build(self, portrait: Portrait) -> Avatar:
        """One avatar from one portrait. An exception costs every frame of this portrait and is recorded."""
        ...
