"""Render: build each avatar once, render its frames, store them losslessly. What fails costs its own frames alone."""

from __future__ import annotations

import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarbench import registry
from avatarbench.datasets.images import read_image, write_png
from avatarbench.errors import DataError, Unscorable, reason_of
from avatarbench.files import writing
from avatarbench.method import Avatar, Camera, FaceTrack, FlameParameters, Method, MethodSpec, Motion, Portrait, Site
from avatarbench.metrics.features import image_digest
from avatarbench.protocol import FrameRef, Pair
from avatarbench.run.announce import Spool
from avatarbench.run.framing import covered, to_contract
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal
from avatarbench.run.memory import PeakMemory
from avatarbench.run.progress import console

METHOD_ERRORS = (Exception, SystemExit)
"""A method is anybody's code: whatever it raises is recorded, and the other methods run. Command-line parsers in
research code raise SystemExit."""

AVATARS = "avatars"
"""The folder, in a run's, of the avatars that can be saved."""

JOBS = "jobs"
"""The folder, in a run's, where methods with processes of their own work. It stays where something failed."""

SAY_SECONDS = 10.0
"""What a method says of its progress is shown so often at most."""


@dataclass
class Rendered:
    """What the journal knows of one method's rendering."""

    digests: dict[str, str] = field(default_factory=dict)  # sample -> pixel digest
    failures: dict[str, str] = field(default_factory=dict)  # sample -> reason
    seconds: dict[str, float] = field(default_factory=dict)  # sample -> render() time
    builds: dict[str, dict[str, Any]] = field(default_factory=dict)  # source frame -> seconds, info
    peak_memory_mib: float = 0.0
    isolation: dict[str, Any] = field(default_factory=dict)  # what the method says of where it runs
    restarts: int = 0

    @property
    def done(self) -> set[str]:
        return self.digests.keys() | self.failures.keys()


def prediction_path(folder: Path, method: str, sample: str) -> Path:
    return folder / "predictions" / method.replace("/", "__") / f"{sample}.png"


def avatar_path(folder: Path, method: str, source: FrameRef) -> Path:
    return folder / AVATARS / method.replace("/", "__") / f"{source.name}.avatar"


def replay(journal: Journal, folder: Path) -> defaultdict[str, Rendered]:
    """What was rendered before, by method. A prediction whose file is gone or altered counts as not rendered."""
    found: defaultdict[str, Rendered] = defaultdict(Rendered)
    for event in journal.read():
        state = found[event["method"]] if "method" in event else Rendered()
        if event["kind"] == "avatar":
            state.builds[event["source"]] = event
        elif event["kind"] == "frame":
            sample = event["sample"]
            if "error" in event:
                state.failures[sample] = event["error"]
            elif _intact(prediction_path(folder, event["method"], sample), event["digest"]):
                state.digests[sample], state.seconds[sample] = event["digest"], event["seconds"]
        elif event["kind"] == "isolation":
            state.isolation = event["isolation"]
        elif event["kind"] == "restart":
            state.restarts += 1
        if "memory_mib" in event:
            state.peak_memory_mib = max(state.peak_memory_mib, event["memory_mib"])
    return found


def _intact(path: Path, digest: str) -> bool:
    try:
        return image_digest(read_image(path)[0]) == digest
    except DataError:
        return False


class Renderer:
    """Renders one method: what ``state`` lacks, recorded in ``state`` and the journal as it is done. ``spec`` is as
    :func:`avatarbench.capability.granted` gives it: all of its ``needs`` are filled in.

    What the method raises costs its own frames; an input that cannot be read costs the frames that need it; anything
    else (a full disk, a missing file of ours) stops the run, which then resumes.
    """

    def __init__(
        self, spec: MethodSpec, options: dict[str, Any], inputs: Inputs, state: Rendered, journal: Journal, folder: Path
    ) -> None:
        self._spec, self._options, self._inputs = spec, options, inputs
        self._state, self._journal, self._folder = state, journal, folder
        self._own = inputs if spec.framing is None else inputs.framed(spec.framing)
        self._said = -SAY_SECONDS
        self._note_background()

    def render(self, pairs: Sequence[Pair], seed: int, advance: Callable[[], None]) -> None:
        """Render every pair not done before; ``advance`` is called once a pair."""
        remaining = [p for p in pairs if p.id not in self._state.done]
        if not remaining:
            return
        with ExitStack() as stack:
            peak = stack.enter_context(PeakMemory())
            try:
                method: Method = registry.load(self._spec.factory)(**self._options)
                stack.callback(getattr(method, "close", lambda: None))
                self._open(method)
            except METHOD_ERRORS as error:
                self._fail(remaining, f"the method could not be set up: {reason_of(error)}", advance)
                return
            everything = dict(_by_source(pairs))
            for source, group in _by_source(remaining):
                self._source(method, source, group, everything[source], seed, advance, lambda: memory(method, peak))

    def _source(
        self,
        method: Method,
        source: FrameRef,
        group: Sequence[Pair],
        everything: Sequence[Pair],
        seed: int,
        advance: Callable[[], None],
        mib: Callable[[], float],
    ) -> None:
        """One avatar, and of ``everything`` that it is driven by the frames of ``group``."""
        try:
            portrait = self._portrait(source)
        except (Unscorable, DataError) as error:
            self._fail(group, f"no avatar: {error}", advance)
            return
        try:
            avatar, build = self._build(method, portrait, seed)
        except METHOD_ERRORS as error:
            self._fail(group, f"no avatar: {reason_of(error)}", advance)
            return
        self._journal.write("avatar", method=self._spec.id, source=portrait.id, memory_mib=mib(), **build)
        self._state.builds[portrait.id] = build
        self._keep(avatar, source)
        told = self._motions(everything) if hasattr(avatar, "announce") else None
        try:
            share = self._announce(avatar, told, portrait.id, seed) if told else 0.0
        except METHOD_ERRORS as error:
            self._fail(group, f"its frames could not be prepared: {reason_of(error)}", advance)
            return
        shape = (*portrait.image.shape[:2], 4 if self._spec.framing and self._spec.framing.alpha else 3)
        for pair in group:
            self._frame(avatar, pair, told.find(pair.id) if told else None, shape, seed, mib, share)
            advance()

    def _open(self, method: Method) -> None:
        """Give a method that asks for it a place to work, and record where it does."""
        if hasattr(method, "open"):
            folder = self._folder / JOBS / self._spec.id.replace("/", "__")
            method.open(Site(folder, self._note, self._restarted, self._say))
        if not hasattr(method, "describe"):
            return
        now, then = dict(method.describe()), self._state.isolation
        if now != then:
            self._journal.write("isolation", method=self._spec.id, isolation=now)
            self._state.isolation = now
        if then and now != then:
            changed = ", ".join(sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key)))
            self._note(f"resumed in another environment than it began in: {changed}")

    def _note(self, text: str) -> None:
        self._inputs.note(f"{self._spec.id}: {text}")

    def _restarted(self, reason: str) -> None:
        self._journal.write("restart", method=self._spec.id, reason=reason)
        self._state.restarts += 1

    def _say(self, text: str) -> None:
        if (now := time.monotonic()) - self._said >= SAY_SECONDS:
            self._said = now
            console.print(f"{self._spec.id}: {text}", markup=False, highlight=False)

    def _motions(self, pairs: Sequence[Pair]) -> Spool:
        """What of ``pairs`` can be read, of finished frames too: a frame may depend on the whole that it is rendered
        in (Real3D-Portrait smooths over a driver, FastAvatar takes the first one's head), so that a resumed run tells
        an avatar what an undisturbed one does. At most one source of a method is half done, so little is done again."""
        told = Spool(self._folder)
        for pair in pairs:
            with suppress(Unscorable, DataError):  # it costs its own frame, when that is rendered
                told.append(self._motion(pair))
        return told

    def _announce(self, avatar: Any, told: Spool, source: str, seed: int) -> float:
        """Tell an avatar that asks for it of its frames: the seconds that were each's."""
        start = self._begin(avatar, seed, source, "announce")
        avatar.announce(told)
        return taken(avatar, start) / len(told)

    def _frame(
        self,
        avatar: Avatar,
        pair: Pair,
        motion: Motion | None,
        shape: tuple[int, ...],
        seed: int,
        mib: Callable[[], float],
        share: float,
    ) -> None:
        try:
            motion = motion or self._motion(pair)
        except (Unscorable, DataError) as error:
            self._fail([pair], str(error))
            return
        start = self._begin(avatar, seed, pair.id)
        try:
            rendered = avatar.render(motion)
            seconds = taken(avatar, start) + share
            image = self._framed(check_image(rendered, shape), pair.driver)
        except METHOD_ERRORS as error:
            self._fail([pair], reason_of(error))
            return
        path = prediction_path(self._folder, self._spec.id, pair.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, image)
        digest = image_digest(image)
        self._journal.write(
            "frame", method=self._spec.id, sample=pair.id, digest=digest, seconds=seconds, memory_mib=mib()
        )
        self._state.digests[pair.id], self._state.seconds[pair.id] = digest, seconds
        self._state.peak_memory_mib = max(self._state.peak_memory_mib, mib())

    def _begin(self, target: object, seed: int, *names: str) -> float:
        """Seed what the next call draws from, and the time."""
        value = seed_everything(seed, self._spec.id, *names)
        if callable(tell := getattr(target, "seed", None)):  # not where it is a number of the method's own
            tell(value)
        return time.perf_counter()

    def _framed(self, rendered: NDArray[np.uint8], driver: FrameRef) -> NDArray[np.uint8]:
        """A rendered picture in the protocol's frame, which is that of the driver's picture."""
        if self._spec.framing is None:
            return rendered
        contract = self._inputs.contract
        own, crop = self._own.crop(driver), self._inputs.crop(driver)
        if (share := covered(own, crop)) < 1:
            self._inputs.note(
                f"{self._spec.id}: its own frame covers {share:.0%} of the protocol's in '{driver.sequence}'; the rest "
                f"is {'black' if contract.background == 'black' else 'white'}"
            )
        return to_contract(rendered, own, crop, contract.size, contract.background)

    def _note_background(self) -> None:
        """A method whose background is not the protocol's pays for it in every metric of whole pictures."""
        framing = self._spec.framing
        if framing is None or framing.alpha:
            return
        ours = self._inputs.contract.background
        if framing.background in (None, ours):
            return
        self._inputs.note(
            f"{self._spec.id}: renders on {framing.background}, where the protocol has the background "
            f"{ours}: the difference counts against it"
        )

    def _portrait(self, source: FrameRef) -> Portrait:
        image = self._own.image(source).copy()
        needs = self._spec.needs
        flame, camera = self._tracked(source, True)  # of a source a method may track itself
        return Portrait(
            id=f"{source.sequence}/{source.index:06d}",
            image=image,
            mask=self._own.mask(source),
            face=self._face(source, "mediapipe" in self._spec.wants),
            flame=flame,
            camera=camera,
            views=self._own.views(source) if "views" in needs else None,
        )

    def _motion(self, pair: Pair) -> Motion:
        flame, camera = self._tracked(pair.driver, "flame" in self._spec.wants)
        return Motion(
            id=pair.id,
            index=pair.driver.index,
            image=self._own.image(pair.driver).copy(),
            face=self._face(pair.driver, True),  # what to do with a faceless driver is the method's to say
            flame=flame,
            camera=camera,
            target=self._own.image(pair.target).copy() if "target" in self._spec.needs and pair.target else None,
        )

    def _tracked(self, ref: FrameRef, dispensable: bool) -> tuple[FlameParameters | None, Camera | None]:
        """FLAME parameters and the camera in whose space they are; without any, the calibrated camera."""
        needs = self._spec.needs
        found = self._own.flame(ref) if "flame" in needs else None
        if found is not None:
            return found[0], found[1] if "camera" in needs else None
        if "flame" in needs and not dispensable:
            raise Unscorable(f"frame {ref.index} of '{ref.sequence}' has no FLAME tracking")
        if "camera" not in needs:
            return None, None
        with suppress(*((Unscorable,) if "flame" in needs else ())):
            return None, self._own.camera(ref)
        return None, None

    def _face(self, ref: FrameRef, dispensable: bool) -> FaceTrack | None:
        if "mediapipe" not in self._spec.needs:
            return None
        with suppress(*((Unscorable,) if dispensable else ())):
            return self._own.track(ref)
        return None

    def _build(self, method: Method, portrait: Portrait, seed: int) -> tuple[Avatar, dict[str, Any]]:
        start = self._begin(method, seed, portrait.id)
        avatar = method.build(portrait)
        seconds = taken(method, start)
        return avatar, {"seconds": seconds, "info": {k: float(v) for k, v in getattr(avatar, "info", {}).items()}}

    def _keep(self, avatar: Avatar, source: FrameRef) -> None:
        """The avatar as a file, once, where it can be saved. One that fails to costs no frame, and a note says so."""
        path = avatar_path(self._folder, self._spec.id, source)
        if not hasattr(avatar, "save") or path.is_file():
            return
        try:
            with writing(path) as temporary:
                avatar.save(temporary)
        except METHOD_ERRORS as error:
            self._inputs.note(f"{self._spec.id}: the avatar of '{source.name}' was not saved: {reason_of(error)}")

    def _fail(self, pairs: Sequence[Pair], reason: str, advance: Callable[[], None] = lambda: None) -> None:
        for pair in pairs:
            self._state.failures[pair.id] = reason
            self._journal.write("frame", method=self._spec.id, sample=pair.id, error=reason)
            advance()


def taken(target: object, start: float) -> float:
    """Seconds since ``start``, less what a method's or an avatar's last call lost."""
    return time.perf_counter() - start - float(getattr(target, "lost_seconds", 0.0))


def memory(method: Method, peak: PeakMemory) -> float:
    """MiB: of the processes that the method's work is done in, or of this one."""
    return float(getattr(method, "peak_memory_mib", None) or peak.mib)


def _by_source(pairs: Sequence[Pair]) -> Iterator[tuple[FrameRef, list[Pair]]]:
    groups: dict[FrameRef, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.source, []).append(pair)
    yield from groups.items()


def check_image(image: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The image as (H, W, 3) uint8. Raises Unscorable saying how it breaks the image contract."""
    if not isinstance(image, np.ndarray):
        raise Unscorable(f"render() returned {type(image).__name__}, not a numpy array")
    if image.shape != shape:
        raise Unscorable(f"render() returned an array of shape {image.shape}, the protocol asks for {shape}")
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise Unscorable(f"render() returned dtype {image.dtype}, neither uint8 nor floating point in [0, 1]")
    bad = int((~np.isfinite(image)).sum())
    if bad:
        raise Unscorable(f"render() returned {bad} NaN or infinite values")
    low, high = float(image.min()), float(image.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise Unscorable(f"render() returned floating point in [{low:.3g}, {high:.3g}], outside [0, 1]")
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def seed_everything(seed: int, *names: str) -> int:
    """Seed the global generators from the run's seed and a name, so that a resumed run draws the same numbers. Returns
    the seed that this gave."""
    value = int.from_bytes(sha256(repr((seed, names)).encode()).digest()[:4], "little")
    random.seed(value)
    np.random.seed(value)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(value)
    return value
