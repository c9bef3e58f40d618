"""The fit of one subject: GaussianAvatars' procedure (Qian et al. 2024), with AvatarPointillist's density
constraint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.fitting import checkpoint
from avatarbench.fitting.config import FitConfig
from avatarbench.fitting.density import ScreenGradients, constrain, densify, drop_hidden, prune
from avatarbench.fitting.gaussians import LocalGaussians
from avatarbench.fitting.loss import held, photometric
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import GaussianHead
from avatarbench.gaussians.render import render
from avatarbench.gaussians.rigged import Frames, face_frames, to_world
from avatarbench.method import Camera

CHECKPOINT = "checkpoint.pt"
SAME = 1e-4
"""Metres: heads whose rest meshes differ by more are not the same person's."""


class Subject(Protocol):
    """What is fitted: pictures of one head, and the mesh under each. Indices count views."""

    @property
    def faces(self) -> Tensor:
        """(F, 3) int64."""
        ...

    def __len__(self) -> int: ...

    def image(self, view: int) -> Tensor:
        """(H, W, 3) float32 in [0, 1] over white."""
        ...

    def camera(self, view: int) -> Camera: ...

    def vertices(self, view: int) -> Tensor:
        """(V, 3) metres, posed; carries gradients where pose and expression are refined."""
        ...

    def rest(self) -> Tensor:
        """(V, 3) metres: zero pose, zero expression, the subject's own shape."""
        ...

    def refinements(self) -> Sequence[tuple[Tensor, float]]:
        """Parameters of the tracking that the fit also optimises, each with its learning rate."""
        ...

    def head(self, cloud: Cloud) -> GaussianHead:
        """The drivable head of a canonical cloud bound to ``faces``, on the CPU."""
        ...


class Stop(Exception):
    """What a ``watch`` raises to end a fit between two steps: its state is saved first."""


@dataclass(frozen=True)
class Progress:
    """What a step tells whoever watches. ``psnr``: of the last pictures, dB."""

    step: int
    points: int
    psnr: float


class Fit:
    """One fit, step by step. ``views``: the ones trained on; ``origin``: what they are of, in words, so that the
    checkpoint of another subject is refused; ``seconds``: spent in steps, earlier sittings included.

    On the CPU equal inputs and seeds give equal clouds, and :meth:`save` and :meth:`load` continue exactly; on CUDA
    sums come in any order.
    """

    def __init__(
        self,
        subject: Subject,
        views: Sequence[int],
        config: FitConfig,
        device: torch.device,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        if not views:
            raise DataError("a fit needs at least one picture to learn from.")
        self.subject, self.views, self.config, self.device = subject, list(views), config, device
        self.origin = dict(origin or {})
        self.step, self.seconds = 0, 0.0
        self.draw = torch.Generator().manual_seed(config.seed)
        self.rest_frames = face_frames(subject.rest().to(device), subject.faces.to(device))
        self.gaussians = LocalGaussians(self._first_bindings(), config.degree, config.start, config.rates, device)
        self.gradients = ScreenGradients.zeros(len(self.gaussians), device)
        self.radius = float((subject.rest() - subject.rest().mean(0)).norm(dim=1).max())
        refined = [{"params": [p], "lr": rate} for p, rate in subject.refinements()]
        self.refiner = torch.optim.Adam(refined) if refined else None
        self._order: list[int] = []
        self._recent: list[float] = []

    def _first_bindings(self) -> Tensor:
        """One Gaussian a face; where the points do not suffice, the largest faces."""
        area = self.rest_frames.scale.square()
        most = self.config.points
        if most is None or most >= len(area):
            return torch.arange(len(area))
        return torch.argsort(area, descending=True, stable=True)[:most].sort().values.cpu()

    def run(self, watch: Callable[[Progress], None], folder: Path | None = None) -> Cloud:
        """To the last step, saving to ``folder`` now and then; the canonical cloud. ``watch`` is called after each step
        and may raise :class:`Stop`. Raises OSError where ``folder`` cannot be written."""
        while self.step < self.config.steps:
            begun = time.perf_counter()
            self._one_step()
            self.seconds += time.perf_counter() - begun
            try:
                watch(Progress(self.step, len(self.gaussians), self.psnr()))
            except Stop:
                if folder is not None:
                    self.save(folder / CHECKPOINT)
                raise
            if folder is not None and self.step % self.config.checkpoint_every == 0:
                self.save(folder / CHECKPOINT)
        return self.canonical()

    def psnr(self) -> float:
        """Mean over the last pictures, dB."""
        return sum(self._recent) / len(self._recent) if self._recent else math.nan

    def canonical(self) -> Cloud:
        """Equation 1's cloud: the global positions on the subject's rest mesh, with bindings; detached, on the CPU."""
        return self.gaussians.world(self.rest_frames).detach().to("cpu")

    def local(self) -> Cloud:
        """The cloud in its triangles' frames, detached, on the CPU."""
        return self.gaussians.local().detach().to("cpu")

    def head(self) -> GaussianHead:
        """The fitted head, drivable and saveable."""
        return self.subject.head(self.canonical())

    def picture(self, view: int) -> Tensor:
        """(H, W, 3) float32 in [0, 1] on the CPU: what the fit shows from a view's camera at its time step, trained on
        or not."""
        with torch.no_grad():
            cloud = self.gaussians.world(self._frames(view))
            white = torch.ones(3, device=self.device)
            return render(cloud, [self.subject.camera(view)], background=white).image[0].clamp(0, 1).cpu()

    def _frames(self, view: int) -> Frames:
        return face_frames(self.subject.vertices(view).to(self.device), self.subject.faces.to(self.device))

    def _one_step(self) -> None:
        config = self.config
        view = self._next_view()
        target, camera = self.subject.image(view).to(self.device), self.subject.camera(view)
        if self.step < config.coarse * config.steps:
            target, camera = halved(target, camera)
        local = self.gaussians.local()
        shift = torch.zeros(1, len(local), 2, device=self.device, requires_grad=True)
        weight = torch.zeros(1, len(local), 1, device=self.device, requires_grad=True)
        cloud = to_world(local, self._frames(view).of(self.gaussians.bindings))
        white = torch.tensor([1.0, 1, 1, 0], device=self.device)
        seen = render(cloud, [camera], background=white, shift=shift, extra=weight)
        image, weighed = seen.image[..., :3], seen.image[..., 3]
        loss = photometric(image, target[None], config.losses.ssim)
        loss = loss + held(local.means, local.scales, seen.radii[0] > 0, config.losses)
        self.gaussians.optimiser.zero_grad(set_to_none=True)
        if self.refiner is not None:
            self.refiner.zero_grad(set_to_none=True)
        # The last channel is zero everywhere, so its sum moves nothing; its gradient is every Gaussian's weight.
        (loss + weighed.sum()).backward()
        if shift.grad is not None and weight.grad is not None:
            self.gradients.add(shift.grad[0], seen.radii[0], weight.grad[0, :, 0], camera.width, camera.height)
        self.gaussians.set_progress(self.step / config.steps)
        self.gaussians.optimiser.step()
        if self.refiner is not None:
            self.refiner.step()
        error = (image.detach().clamp(0, 1) - target[None]).square().mean()
        psnr = float(-10 * torch.log10(error.clamp_min(1e-10)))
        if not math.isfinite(psnr):
            raise DataError(
                f"the fit broke down at step {self.step + 1}: its picture holds NaN. Choose lower rates and another "
                "--out."
            )
        self._recent = [*self._recent[-99:], psnr]
        self.step += 1
        self._change_density()

    def _change_density(self) -> None:
        """Densification, fading and the constraint, where this step calls for them; the constraint also at the end,
        which changes nothing where densification has met it before."""
        config = self.config
        plan = config.densify
        changes = plan.start <= self.step < plan.stop and self.step % plan.every == 0
        if changes or self.step == config.steps:
            self.gradients = drop_hidden(self.gaussians, self.gradients, plan.hidden)
            worth = torch.zeros(len(self.rest_frames.scale), device=self.device)
            worth.index_add_(0, self.gaussians.bindings, self.gradients.weight)
            if changes:
                room = None if config.points is None else config.points - len(self.gaussians)
                densify(self.gaussians, self.gradients, self.rest_frames, plan, self.radius, room, self.draw)
                prune(self.gaussians, plan, config.density)
            constrain(self.gaussians, config.density, config.points, worth, self.draw)
            self.gradients = ScreenGradients.zeros(len(self.gaussians), self.device)
        if self.step < plan.stop and self.step % plan.reset_every == 0:
            self.gaussians.fade_to(2 * plan.fade)

    def _next_view(self) -> int:
        """Every view once, in an order drawn anew each round."""
        if not self._order:
            self._order = torch.randperm(len(self.views), generator=self.draw).tolist()
        return self.views[self._order.pop()]

    def save(self, path: Path) -> None:
        """Everything that :meth:`load` needs to go on exactly. Raises OSError."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "origin": self.origin,
            "rest": self.subject.rest(),
            "gaussians": self.gaussians.state(),
            "gradients": astuple(self.gradients),
            "draw": self.draw.get_state(),
            "order": self._order,
            "recent": self._recent,
            "config": self.config.model_dump_json(),
            "refined": [p.detach() for p, _ in self.subject.refinements()],
            "refiner": self.refiner.state_dict() if self.refiner is not None else None,
        }
        checkpoint.write(path, state)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint. Raises DataError for one that is damaged, of another version, subject or
        configuration. The device and when to save may differ; the number of steps may not, for rates, resolution and
        densification follow it from the first step on."""
        state, before = checkpoint.read(path, self.device)
        then, now = (c.model_dump(exclude={"device", "checkpoint_every"}) for c in (before, self.config))
        if then != now:
            changed = ", ".join(f"{k} was {then[k]} and is {now[k]}" for k in then if then[k] != now[k])
            raise DataError(f"{path} was made with another configuration: {changed}. Choose another --out.")
        if state["origin"] != self.origin:
            before_, now_ = state["origin"], self.origin
            changed = ", ".join(
                f"{k}: {before_.get(k) or 'none'} there, {now_.get(k) or 'none'} here"
                for k in sorted({*before_, *now_})
                if before_.get(k) != now_.get(k)
            )
            raise DataError(f"{path} is of another fit ({changed}). Choose another --out.")
        rest = self.subject.rest()
        there = state["rest"].to(rest)
        if there.shape != rest.shape or bool((there - rest).abs().max() > SAME):
            raise DataError(f"{path} is of a head of another shape than this person's. Choose another --out.")
        self.step, self.seconds = state["step"], state["seconds"]
        self.gaussians.restore(state["gaussians"])
        self.gradients = ScreenGradients(*state["gradients"])
        self.draw.set_state(state["draw"].cpu())
        self._order, self._recent = list(state["order"]), list(state["recent"])
        with torch.no_grad():
            for (parameter, _), value in zip(self.subject.refinements(), state["refined"], strict=True):
                parameter.copy_(value)
        if self.refiner is not None and state["refiner"] is not None:
            self.refiner.load_state_dict(state["refiner"])


def halved(image: Tensor, camera: Camera) -> tuple[Tensor, Camera]:
    """A picture (H, W, 3) at half its size, an odd last row or column left out, and its camera."""
    small = torch.nn.functional.avg_pool2d(image.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0)
    k = camera.K.copy()
    k[:2] /= 2
    return small, Camera(k, camera.world_to_camera, small.shape[1], small.shape[0])
