"""What an exception of a metric or an extractor costs: one value with a reason, or the run."""

from __future__ import annotations

import sys

from avatarbench.errors import AvatarbenchError, Unscorable, reason_of

_TORCH_ON_CPU = "DefaultCPUAllocator"  # a bare RuntimeError says so where the memory of a CPU runs out


def sample_reason(error: Exception) -> str:
    """Why there is no value, of what a metric or an extractor, which may be anybody's code, raised.

    Raises ``error`` again where the next frame would fare no better: memory that ran out, on either device, and our own
    errors other than Unscorable (weights that are gone).
    """
    if out_of_memory(error) or (isinstance(error, AvatarbenchError) and not isinstance(error, Unscorable)):
        raise error
    return reason_of(error)


def out_of_memory(error: Exception) -> bool:
    """Whether memory ran out. Does not import torch: an error of its kind comes from a torch that is loaded."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    return torch is not None and (
        isinstance(error, torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and _TORCH_ON_CPU in str(error))
    )
