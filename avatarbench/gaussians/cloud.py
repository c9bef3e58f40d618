"""A cloud of 3D Gaussians, optionally bound to the faces of a rig: the one form that everything here reads and
writes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.gaussians.harmonics import CONSTANT, count_of, degree_of

QUATERNION_LEAST = 1e-8
FLOATS = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Cloud:
    """N Gaussians in linear units: what is rendered, not its logarithms.

    ``means`` (N, 3) metres; ``quaternions`` (N, 4), w x y z, of any length but zero; ``scales`` (N, 3) metres, standard
    deviations, above zero; ``opacities`` (N,) in [0, 1]; ``colours`` (N, 3) RGB in the picture's space (sRGB here), or
    (N, K, 3) coefficients of spherical harmonics with K = 1, 4, 9 or 16; ``bindings`` (N,) int64, faces of a rig, or
    None.
    """

    means: Tensor
    quaternions: Tensor
    scales: Tensor
    opacities: Tensor
    colours: Tensor
    bindings: Tensor | None = None

    def __len__(self) -> int:
        return len(self.means)

    @property
    def degree(self) -> int | None:
        """The degree of the spherical harmonics, or None for plain RGB."""
        return degree_of(self.colours.shape[1]) if self.colours.ndim == 3 else None

    def check(self, faces: int | None = None) -> Self:
        """Itself. Raises DataError naming the first attribute that cannot be rendered by its shape, its type (float32
        or float64, the same for all) or its values, how many Gaussians are at fault and the first of them; with
        ``faces`` also for a binding outside ``0 .. faces - 1``."""
        count = len(self.means) if self.means.ndim else 0
        expected: dict[str, tuple[tuple[int, ...], ...]] = {
            "means": ((count, 3),),
            "quaternions": ((count, 4),),
            "scales": ((count, 3),),
            "opacities": ((count,),),
            "colours": ((count, 3), *((count, count_of(degree), 3) for degree in range(4))),
            "bindings": ((count,),),
        }
        for name, shapes in expected.items():
            value = getattr(self, name)
            if value is None:
                continue
            if tuple(value.shape) not in shapes:
                wanted = " or ".join(str(shape) for shape in shapes)
                raise DataError(
                    f"a cloud of {count} Gaussians has '{name}' of {tuple(value.shape)}; expected {wanted}."
                )
            if name == "bindings":
                if value.dtype != torch.int64:
                    raise DataError(f"a cloud's 'bindings' are face indices, int64; these are {value.dtype}.")
                continue
            if value.dtype not in FLOATS or value.dtype != self.means.dtype:
                raise DataError(
                    f"a cloud's '{name}' are {value.dtype}, its 'means' {self.means.dtype}: one type is expected, "
                    "float32 or float64."
                )
            rows = value.flatten(1) if value.ndim > 1 else value[:, None]
            refuse(~torch.isfinite(rows).all(1), name, "NaN or infinite")
        refuse(self.quaternions.norm(dim=1) < QUATERNION_LEAST, "quaternions", "zero")
        refuse((self.scales <= 0).any(1), "scales", "zero or negative")
        refuse((self.opacities < 0) | (self.opacities > 1), "opacities", "outside 0 to 1")
        if self.bindings is not None and faces is not None:
            refuse((self.bindings < 0) | (self.bindings >= faces), "bindings", f"outside 0 to {faces - 1}")
        return self

    def to(self, *arguments: Any) -> Self:
        """The cloud on another device or in another floating-point type; bindings stay whole numbers."""
        moved = {f.name: v.to(*arguments) for f in fields(self) if (v := getattr(self, f.name)) is not None}
        if self.bindings is not None:
            moved["bindings"] = self.bindings.to(moved["means"].device)
        return replace(self, **moved)

    def select(self, index: Tensor) -> Self:
        """The Gaussians of an index or a mask, in its order."""
        chosen = {f.name: v[index] for f in fields(self) if (v := getattr(self, f.name)) is not None}
        return replace(self, **chosen)

    def detach(self) -> Self:
        """The same numbers without their history."""
        return replace(self, **{f.name: v.detach() for f in fields(self) if (v := getattr(self, f.name)) is not None})

    def rgb(self) -> Tensor:
        """(N, 3) RGB without what depends on the view: the colours themselves, or the constant harmonic."""
        return self.colours if self.colours.ndim == 2 else (self.colours[:, 0] * CONSTANT + 0.5).clamp_min(0)


def refuse(wrong: Tensor, name: str, what: str) -> None:
    """Raises DataError where any of ``wrong`` (N,) is true, with their number and the first."""
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise DataError(f"the cloud's '{name}' are {what} for {int(wrong.sum())} Gaussians, the first of them {first}.")
