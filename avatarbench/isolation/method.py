"""A method whose code runs in an environment of its own, behind the same contract as one in this process."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from avatarbench.datasets.images import read_image
from avatarbench.errors import AvatarbenchError, DataError, UsageError
from avatarbench.isolation.process import Job, ShimFailed, Startable, Worker
from avatarbench.isolation.supervisor import Lost, Supervisor
from avatarbench.isolation.wire import ARRAYS_LIMIT
from avatarbench.method import Motion, Portrait, Site

if TYPE_CHECKING:
    from avatarbench.isolation.recipe import Recipe

T = TypeVar("T")


class IsolatedMethod:
    """Base of a method in an environment of its own. A subclass states ``recipe`` and ``shim``.

    ``shim``: a file that defines ``Shim`` (:mod:`avatarbench.isolation.worker` runs it); ``files`` are copied beside
    it. Timeouts are seconds: of a start with the shim's constructor, of a build, of a frame, and of
    :meth:`AnnouncedAvatar.announce` a frame.
    """

    recipe: ClassVar[Recipe]
    shim: ClassVar[Path]
    files: ClassVar[tuple[Path, ...]] = ()
    start_timeout: float = 600.0
    build_timeout: float = 600.0
    frame_timeout: float = 120.0
    announce_timeout: float = 120.0

    def __init__(
        self,
        backend: str | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        environment: Startable | None = None,
        repository: Path | None = None,
        read_only: Sequence[Path] = (),
        **further: Any,
    ) -> None:
        """The shim's options are ``options`` and whatever keyword is not named here.

        ``backend``: instead of the recipe's. ``environment``: one that is there, so that none is built; ``repository``:
        the checkout that a build needs; ``read_only``: files and folders outside of the job folder that the shim reads.
        """
        self.options = {**(options or {}), **further}
        self._recipe = self.recipe.using(backend)
        self._environment, self._repository, self._seed = environment, repository, 0
        job = Job(self.shim, self.files, self.options, tuple(read_only), {}, self._recipe.network)
        self._supervisor = Supervisor(self.environment, job, self.start_timeout)

    @classmethod
    def obstacles(cls, **options: Any) -> Sequence[str]:
        """What stops its environment from being built or used here, a line each."""
        from avatarbench.isolation import environments

        try:
            return environments.why_not(cls.recipe.using(options.get("backend")), _path(options.get("repo")))
        except UsageError as error:
            return [str(error)]

    @classmethod
    def prepare(cls, **options: Any) -> Sequence[str]:
        """Build the environment where it is not there; why that failed, a line each. With ``python``, an interpreter of
        the user's own environment, there is none to build."""
        from avatarbench.isolation import environments

        if options.get("python") is not None:
            return []
        try:
            environments.ensure(
                cls.recipe.using(options.get("backend")), repository=_path(options.get("repo")), progress=Lines()
            )
        except AvatarbenchError as error:
            return [str(error)]
        return []

    def environment(self) -> Startable:
        """Where the worker runs, built where it is not there. Raises AvatarbenchError."""
        from avatarbench.isolation import environments

        if self._environment is None:
            self._environment = environments.ensure(self._recipe, repository=self._repository)
        return self._environment

    def describe(self) -> dict[str, Any]:
        """For the run's record: the environment, and what keeps the process in. Raises AvatarbenchError."""
        return dict(self.environment().describe())

    @property
    def restarts(self) -> int:
        """How often the worker was started again."""
        return self._supervisor.restarts

    @property
    def peak_memory_mib(self) -> float:
        """The highest resident memory of a worker, or of a process that it waited for."""
        return self._supervisor.memory_mib()

    @property
    def lost_seconds(self) -> float:
        """What starts, and attempts that failed, took of the last call."""
        return self._supervisor.lost_seconds

    def open(self, site: Site) -> None:
        """Work in ``site``, and see that there is an environment. Raises AvatarbenchError where it cannot be built."""
        self._supervisor.site = site
        self.environment()

    def close(self) -> None:
        """End the worker and remove its job folder. The next call starts another."""
        self._supervisor.close()

    def seed(self, value: int) -> None:
        """What the draws of the next build start from."""
        self._seed = value

    def build(self, portrait: Portrait) -> IsolatedAvatar:
        """Build in the worker. Raises Unscorable, and WorkerError where it fails twice."""
        built = Built(self, portrait, self._seed)
        self._supervisor.build(built)
        announces = self._supervisor.greeting.get("announces")
        return (AnnouncedAvatar if announces else IsolatedAvatar)(self._supervisor, built)


class Built:
    """What a worker is brought to, as often as it has to be started: an avatar, and the frames announced to it."""

    def __init__(self, method: IsolatedMethod, portrait: Portrait, seed: int) -> None:
        self.info: dict[str, float] = {}
        self.motions: Sequence[Motion] = ()
        self.announce_seed = seed
        self.frame_timeout, self._announce_timeout = method.frame_timeout, method.announce_timeout
        self._build_timeout, self._portrait, self._seed = method.build_timeout, portrait, seed

    def place(self, worker: Worker) -> None:
        """Build, and announce what was announced before. Raises Unscorable and WorkerError."""
        body = {"portrait": plain(self._portrait), "seed": self._seed}
        self.info = dict(worker.ask("build", self._build_timeout, **body) or {})
        if self.motions:
            self.announce(worker, self.motions)

    def announce(self, worker: Worker, motions: Sequence[Motion]) -> None:
        """Tell of all ``motions``. Raises Unscorable and WorkerError."""
        timeout = self._announce_timeout * len(motions)
        for motion in motions:
            worker.post("motion", timeout, motion=plain(motion))
        worker.ask("announce", timeout, seed=self.announce_seed)


class IsolatedAvatar:
    """An avatar that lives in a worker, and is built there again where the worker had to be started again."""

    def __init__(self, supervisor: Supervisor, built: Built) -> None:
        self._supervisor, self._built, self._seed = supervisor, built, 0
        self._lost: Lost | None = None

    @property
    def info(self) -> dict[str, float]:
        return self._built.info

    @property
    def lost_seconds(self) -> float:
        """What starts, builds after them, and attempts that failed took of the last call."""
        return self._supervisor.lost_seconds

    def seed(self, value: int) -> None:
        """What the draws of the next frame start from."""
        self._seed = value

    def render(self, motion: Motion) -> NDArray[np.generic]:
        """The worker's picture. Raises Unscorable, WorkerError where it fails twice, and Lost."""
        body = {"motion": plain(motion), "seed": self._seed}
        return self._ask(lambda worker: self._picture(worker, body))

    def _ask(self, work: Callable[[Worker], T]) -> T:
        if self._lost is not None:
            raise self._lost
        try:
            return self._supervisor.ask(self._built, work)
        except Lost as error:
            self._lost = error
            raise

    def _picture(self, worker: Worker, body: dict[str, Any]) -> NDArray[np.generic]:
        found = worker.ask("render", self._built.frame_timeout, **body)
        if isinstance(found, dict) and isinstance(found.get("image"), np.ndarray):
            image: NDArray[np.generic] = found["image"]
            return image
        if isinstance(found, dict) and isinstance(found.get("path"), str):
            return read_inside(worker.folder, found["path"])
        raise ShimFailed("render() gave neither a picture nor the path of one")


class AnnouncedAvatar(IsolatedAvatar):
    """One whose shim is told of all frames before the first, since its code renders whole sequences."""

    def announce(self, motions: Sequence[Motion]) -> None:
        """Have the shim prepare for ``motions``. Raises as :meth:`render` does."""
        self._built.motions = ()  # a worker that is started meanwhile is not told of an earlier list
        if not motions:  # the time for none would be over at once
            return
        self._built.announce_seed = self._seed
        self._ask(lambda worker: self._built.announce(worker, motions))
        self._built.motions = motions  # as they are: a list of them would hold all of their pictures


def read_inside(folder: Path, path: str) -> NDArray[np.uint8]:
    """The picture ``path`` of a job folder, (H, W, 3) uint8, links followed.

    Raises ShimFailed where it lies outside, is not there, is no file, is too large or cannot be read.
    """
    home = folder.resolve()
    try:
        found = (home / path).resolve(strict=True)
        if not found.is_relative_to(home):
            raise ShimFailed(f"render() gave the path '{path}', which is outside of its job folder: it was not read")
        status = found.stat()
        if not stat.S_ISREG(status.st_mode):  # a named pipe would be waited for without end
            raise ShimFailed(f"render() gave the path '{path}', which is no file")
        if status.st_size > ARRAYS_LIMIT:
            raise ShimFailed(
                f"render() gave the path '{path}', a file of {status.st_size} bytes, where {ARRAYS_LIMIT} are allowed"
            )
        return read_image(found)[0]
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a null byte; RuntimeError: a loop of links
        raise ShimFailed(f"render() gave the path '{path}', which cannot be followed: {error}") from error
    except DataError as error:
        raise ShimFailed(f"render() gave the path of a picture that cannot be read: {error}") from error


def plain(value: Any) -> Any:
    """Our dataclasses as nested dicts, their arrays as they are."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return value


class Lines:
    """Tells of an environment's build, a line a step."""

    def say(self, text: str) -> None:
        from avatarbench.run.progress import console

        console.print(text, markup=False, highlight=False)

    def step(self, name: str, number: int, total: int) -> None:
        self.say(f"environment, step {number} of {total}: {name}")

    def line(self, text: str) -> None: ...


def _path(option: Any) -> Path | None:
    return None if option is None else Path(str(option)).expanduser().absolute()
