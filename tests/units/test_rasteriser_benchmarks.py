"""The logic of the renderers' benchmarks, where it matters that they do not flatter."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from avatarbench.gaussians import harmonics
from avatarbench.gaussians.render import rasterise
from benchmarks import gsplat_agreement, rasterize
from benchmarks.gsplat_agreement import LEAVES, NAMES, Case, Difference, called, cases, compare, evaluate, report
from tests.oracles.splats import reference


def _reference(case: Case) -> dict[str, Tensor]:
    """What :func:`evaluate` returns, from the float64 reference."""
    leaves = {name: case.inputs[name].double().requires_grad_() for name in LEAVES}
    means, quaternions, scales, opacities, colours, views, background, shift = leaves.values()
    k, pictures = case.inputs["intrinsics"].double(), []
    for camera in range(len(views)):
        seen = views[camera : camera + 1]
        values = harmonics.colours(colours, means, seen)[0] if colours.ndim == 3 else colours
        inputs = (means, quaternions, scales, opacities, values, seen, k[camera : camera + 1])
        pictures.append(reference(*inputs, case.width, case.height, shift=shift[camera : camera + 1]))
    image, through, depth = (torch.cat(parts) for parts in zip(*pictures, strict=True))
    out = {"picture": image + through[..., None] * background, "alpha": 1 - through, "depth": depth}
    draw = torch.Generator().manual_seed(9)
    weights = [torch.randn(o.shape, generator=draw).double() for o in out.values()]
    torch.stack([(o * w).sum() for o, w in zip(out.values(), weights, strict=True)]).sum().backward()
    gradients = {f"d {n}": torch.zeros_like(t) if t.grad is None else t.grad for n, t in leaves.items()}
    flat = colours.flatten(1)  # what is seen does not depend on colours
    radii = rasterise(means, quaternions, scales, opacities, flat, views, k, case.width, case.height).radii
    return {name: value.detach() for name, value in (out | {"seen": (radii > 0).double()} | gradients).items()}


@pytest.mark.parametrize("case", cases(25, 20), ids=lambda case: case.name)
def test_what_is_compared_with_gsplat_agrees_with_the_reference(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(case, compare(evaluate(case, "cpu", "cpu"), _reference(case)))
    printed = capsys.readouterr().out
    assert case.name in printed
    assert all(f"d {name} " in printed for name in LEAVES)


def test_a_difference_beyond_its_bound_and_one_that_is_no_number_fail_the_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = cases(1, 20)[0]
    for wrong in (
        Difference("picture", 0.1, 0.0),
        Difference("picture", 0.0, 1e-4),
        Difference("d means", math.nan, 0),
        Difference("seen", 1.0, 0.01),
    ):
        assert not report(case, [Difference("alpha", 0.0, 0.0), wrong])
        assert "(TOO MUCH)" in capsys.readouterr().out


def test_sides_that_have_unlike_gradients_are_not_compared() -> None:
    with pytest.raises(ValueError, match="d views"):
        compare({"picture": torch.ones(1)}, {"picture": torch.ones(1), "d views": torch.ones(1)})


def test_without_gsplat_the_agreement_says_that_nothing_was_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", None)
    monkeypatch.setattr("sys.argv", ["gsplat_agreement.py"])
    with pytest.raises(SystemExit, match=r"pip install gsplat\. Nothing was compared"):
        gsplat_agreement.main()


def test_what_is_timed_is_the_call_that_users_make() -> None:
    case = next(case for case in cases(25, 20) if case.name == "harmonics")
    leaves = {name: value.clone().requires_grad_(name in NAMES[:5]) for name, value in case.inputs.items()}
    image, alpha = called(case, leaves, "cpu")()
    expected = evaluate(case, "cpu", "cpu")
    assert torch.allclose(image, expected["picture"], atol=1e-5)
    assert torch.allclose(alpha, expected["alpha"], atol=1e-5)
    (image.sum() + alpha.sum()).backward()
    assert all(leaves[name].grad is not None for name in NAMES[:5])


@pytest.mark.parametrize(("agree", "says"), [(True, "harmonics agree"), (False, "harmonics DIFFER")])
def test_without_cuda_the_agreement_says_that_no_picture_was_compared(
    monkeypatch: pytest.MonkeyPatch, agree: bool, says: str
) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(__version__="0"))
    monkeypatch.setattr(gsplat_agreement, "projections_agree", lambda: agree)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gsplat_agreement.py"])
    with pytest.raises(SystemExit, match=f"no CUDA device: no picture was compared.*{says}"):
        gsplat_agreement.main()


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    # What the benchmark sets for its process must not outlast it here.
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr("sys.argv", ["rasterize.py", "--sizes", "24", "--repeats", "1", "--threads", "1", *arguments])
    rasterize.main()


def test_the_ratio_is_the_last_line_and_every_row_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(monkeypatch, "--points", "40", "80", "--skip-mitsuba")
    lines = capsys.readouterr().out.splitlines()
    assert float(lines[-1].removeprefix("ratio: ")) > 0
    assert [line.split()[0] for line in lines if "|" in line][2:] == ["40", "80"]
    assert any(line.startswith("2 times the Gaussians at 24") for line in lines)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda image: image + 0.02, "the pictures by 2.0e-02"),
        (lambda image: image + 1.1 * (image - image.detach()), "the gradients of means by 5.2e-01"),
    ],
)
def test_a_peer_that_renders_another_thing_ends_the_benchmark_before_its_ratio(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: Callable[[Tensor], Tensor],
    says: str,
) -> None:
    right = rasterize.peer
    monkeypatch.setattr(rasterize, "peer", lambda cloud, camera: wrong(right(cloud, camera)))
    with pytest.raises(SystemExit, match=says):
        _run(monkeypatch, "--points", "40", "--skip-mitsuba")
    assert "ratio: " not in capsys.readouterr().out


def test_the_head_like_cloud_is_the_same_every_time_and_lies_on_the_head() -> None:
    one, other = rasterize.head_like(300), rasterize.head_like(300)
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))
    assert one.check() is one
    assert one.means.abs().max() < 0.4
