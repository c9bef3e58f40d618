"""The Gaussians that a fit optimises: raw parameters in their triangles' frames, with Adam's state beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from avatarbench.fitting.config import Rates, Start
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.harmonics import count_of
from avatarbench.gaussians.rigged import Frames, to_world

NAMES = ("means", "scales", "quaternions", "opacities", "colours", "harmonics")


class LocalGaussians:
    """N Gaussians bound to faces. ``parameters``: means (N, 3), scales (N, 3) logarithms, quaternions (N, 4),
    opacities (N,) logits, colours (N, 3) and harmonics (N, K - 1, 3), all in units of the bound triangle; ``bindings``
    (N,).

    Selecting, adding and moving Gaussians keeps the optimiser's moments with them; new ones start without.
    """

    def __init__(self, bindings: Tensor, degree: int | None, start: Start, rates: Rates, device: torch.device) -> None:
        """One grey Gaussian a binding, in the face's centroid."""
        count = len(bindings)
        self.degree, self.rates = degree, rates
        self.bindings = bindings.to(device)
        extra = 0 if degree is None else count_of(degree) - 1
        wide, thin = math.log(start.scale), math.log(start.thickness)
        values = {
            "means": torch.zeros(count, 3),
            "scales": torch.tensor([wide, thin, wide]).repeat(count, 1),
            "quaternions": torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
            "opacities": torch.full((count,), start.opacity).logit(),
            "colours": torch.full((count, 3), 0.5),
            "harmonics": torch.zeros(count, extra, 3),
        }
        self.parameters = {name: value.to(device).requires_grad_() for name, value in values.items()}
        self.optimiser = torch.optim.Adam(
            [{"params": [self.parameters[name]], "lr": self._rate(name, 0.0), "name": name} for name in NAMES],
            eps=1e-15,
        )

    def __len__(self) -> int:
        return len(self.bindings)

    def _rate(self, name: str, progress: float) -> float:
        if name == "means":
            first, last = self.rates.means
            return first * (last / first) ** progress
        return float(getattr(self.rates, name))

    def set_progress(self, progress: float) -> None:
        """Learning rates for a fit that has done this share of its steps."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(group["name"], progress)

    def local(self) -> Cloud:
        """The cloud in its triangles' frames, with gradients."""
        p = self.parameters
        colours = p["colours"]
        if self.degree is not None:
            from avatarbench.gaussians.harmonics import CONSTANT

            colours = torch.cat([((colours - 0.5) / CONSTANT)[:, None], p["harmonics"]], 1)
        return Cloud(
            p["means"], p["quaternions"], p["scales"].exp(), torch.sigmoid(p["opacities"]), colours, self.bindings
        )

    def world(self, frames: Frames) -> Cloud:
        """The cloud under a mesh whose triangles have these ``frames`` (F, ...)."""
        return to_world(self.local(), frames.of(self.bindings))

    def select(self, keep: Tensor) -> None:
        """Keep the Gaussians of a mask or an index, in its order."""
        self._rebuild(
            {name: value.detach()[keep] for name, value in self.parameters.items()}, self.bindings[keep], keep
        )

    def append(self, new: Mapping[str, Tensor], bindings: Tensor) -> None:
        """Add Gaussians with the given raw parameters."""
        joined = {name: torch.cat([value.detach(), new[name]]) for name, value in self.parameters.items()}
        kept = torch.arange(len(self), device=self.bindings.device)
        self._rebuild(joined, torch.cat([self.bindings, bindings]), kept)

    def fade_to(self, most: float) -> None:
        """Lower every opacity above ``most`` to it, and forget the moments of opacities."""
        value = self.parameters["opacities"]
        with torch.no_grad():
            value.clamp_(max=float(torch.tensor(most).logit()))
        self.optimiser.state.pop(value, None)

    def state(self) -> dict[str, Any]:
        """Tensors alone, for a checkpoint that loads with ``weights_only``."""
        moments = {
            name: self.optimiser.state[value]
            for name, value in self.parameters.items()
            if value in self.optimiser.state
        }
        values = {name: value.detach() for name, value in self.parameters.items()}
        return {"parameters": values, "bindings": self.bindings, "moments": moments}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self._rebuild(dict(state["parameters"]), state["bindings"], None)
        for name, moments in state["moments"].items():
            self.optimiser.state[self.parameters[name]] = dict(moments)

    def _rebuild(self, values: Mapping[str, Tensor], bindings: Tensor, kept: Tensor | None) -> None:
        """New tensors under the old names; row i of the kept moments is row ``kept[i]`` of the old, further rows are
        zero."""
        self.bindings = bindings
        for group in self.optimiser.param_groups:
            name = group["name"]
            old, new = self.parameters[name], values[name].clone().requires_grad_()
            moments = self.optimiser.state.pop(old, None)
            if moments is not None and kept is not None:
                for key in ("exp_avg", "exp_avg_sq"):
                    rows = moments[key][kept]
                    moments[key] = torch.cat([rows, rows.new_zeros(len(new) - len(rows), *rows.shape[1:])])
                self.optimiser.state[new] = moments
            group["params"] = [new]
            self.parameters[name] = new
