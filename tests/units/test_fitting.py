"""The fit: what densification and the constraint do, and that a fit learns and resumes exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from avatarbench.errors import DataError, UsageError
from avatarbench.fitting.config import Densify, Density, FitConfig, Rates, Start, load_preset
from avatarbench.fitting.density import ScreenGradients, constrain, densify, drop_hidden, prune, rank_in_face
from avatarbench.fitting.fit import Fit
from avatarbench.fitting.gaussians import LocalGaussians
from avatarbench.fitting.loss import photometric, ssim_map
from avatarbench.fitting.turntable import orbit
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.render import render
from avatarbench.gaussians.rigged import Frames, face_frames
from avatarbench.method import Camera

CPU = torch.device("cpu")


def _gaussians(bindings: list[int], opacities: list[float] | None = None) -> LocalGaussians:
    found = LocalGaussians(torch.tensor(bindings), None, Start(), Rates(), CPU)
    if opacities is not None:
        with torch.no_grad():
            found.parameters["opacities"].copy_(torch.tensor(opacities).logit())
    return found


def _counts(gaussians: LocalGaussians) -> dict[int, int]:
    faces, counts = torch.unique(gaussians.bindings, return_counts=True)
    return dict(zip(faces.tolist(), counts.tolist(), strict=True))


def _frames(count: int) -> Frames:
    return Frames(torch.eye(3).expand(count, 3, 3), torch.zeros(count, 3), torch.full((count,), 0.01))


def test_rank_orders_a_faces_gaussians_by_opacity() -> None:
    rank = rank_in_face(torch.tensor([3, 1, 3, 3, 1]), torch.tensor([0.2, 0.9, 0.8, 0.2, 0.95]))
    assert rank.tolist() == [1, 1, 0, 2, 0]


def test_the_constraint_caps_full_faces_and_tops_up_thin_ones() -> None:
    gaussians = _gaussians([0] * 20 + [1] * 2 + [2] * 5, [0.1 + 0.04 * i for i in range(20)] + [0.5] * 7)
    constrain(gaussians, Density(), None, torch.ones(3), torch.Generator().manual_seed(0))
    assert _counts(gaussians) == {0: 15, 1: 4, 2: 5}
    kept = torch.sigmoid(gaussians.parameters["opacities"][gaussians.bindings == 0])
    assert kept.min() > 0.29  # the five faintest of face 0 are gone


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_thin_face_ends_with_the_least_allowed(count: int) -> None:
    gaussians = _gaussians([7] * count)
    constrain(gaussians, Density(least=4, most=15), None, torch.ones(8), torch.Generator())
    assert _counts(gaussians) == {7: 4}


def test_where_points_are_few_the_faces_that_show_least_give_theirs_up() -> None:
    gaussians = _gaussians([0, 1, 2, 3])
    constrain(gaussians, Density(least=4, most=15), 8, torch.tensor([0.9, 0.1, 0.8, 0.2]), torch.Generator())
    assert _counts(gaussians) == {0: 4, 2: 4}


def test_without_the_constraint_nothing_is_changed() -> None:
    gaussians = _gaussians([0] * 30 + [1])
    constrain(gaussians, Density(enabled=False), 5, torch.ones(2), torch.Generator())
    assert _counts(gaussians) == {0: 30, 1: 1}


def test_a_face_whose_gaussians_all_fade_is_dropped_under_the_constraint_and_kept_without() -> None:
    plan = Densify(fade=0.05)
    with_it, without = _gaussians([0, 0, 1], [0.01, 0.02, 0.4]), _gaussians([0, 0, 1], [0.01, 0.02, 0.4])
    prune(with_it, plan, Density())
    prune(without, plan, Density(enabled=False))
    assert _counts(with_it) == {1: 1}
    assert _counts(without) == {0: 1, 1: 1}
    prune(with_it, Densify(fade=0.45), Density())
    assert len(with_it) == 1  # a cloud is never empty


def test_what_fills_less_than_its_share_of_a_mean_view_goes_with_its_sums() -> None:
    gaussians = _gaussians([3, 4, 5])
    sums = ScreenGradients(torch.tensor([1.0, 2, 3]), torch.ones(3), torch.tensor([4e-5, 1e-6, 9e-5]), views=2)
    left = drop_hidden(gaussians, sums, 2e-5)
    assert _counts(gaussians) == {3: 1, 5: 1}
    assert left.total.tolist() == [1, 3]
    assert left.views == 2
    drop_hidden(gaussians, left, 0.5)
    assert _counts(gaussians) == {5: 1}  # a cloud is never empty


def test_no_share_or_no_view_drops_nothing() -> None:
    gaussians = _gaussians([3, 4])
    assert len(drop_hidden(gaussians, ScreenGradients.zeros(2, CPU), 0.1).total) == 2
    drop_hidden(gaussians, ScreenGradients(*torch.zeros(3, 2), views=5), 0)
    assert len(gaussians) == 2


def test_densifying_clones_the_small_splits_the_large_and_children_inherit_the_binding() -> None:
    gaussians = _gaussians([4, 5, 6])
    with torch.no_grad():
        gaussians.parameters["scales"][0] = math.log(0.1)  # 1 mm at the face's size: below 1 % of the radius
    gradients = ScreenGradients(torch.tensor([1.0, 1.0, 0.0]), torch.ones(3), torch.ones(3))
    densify(gaussians, gradients, _frames(10), Densify(gradient=0.5), 0.2, None, torch.Generator().manual_seed(0))
    assert _counts(gaussians) == {4: 2, 5: 2, 6: 1}
    split = gaussians.parameters["scales"][gaussians.bindings == 5].exp()
    assert torch.allclose(split, torch.full_like(split, 1 / 1.6))
    clones = gaussians.parameters["means"][gaussians.bindings == 4]
    assert torch.equal(clones[0], clones[1])


def test_room_goes_to_the_largest_gradients() -> None:
    gaussians = _gaussians([0, 1, 2])
    gradients = ScreenGradients(torch.tensor([1.0, 3.0, 2.0]), torch.ones(3), torch.ones(3))
    densify(gaussians, gradients, _frames(3), Densify(gradient=0.5), 100.0, 1, torch.Generator())
    assert _counts(gaussians) == {0: 1, 1: 2, 2: 1}


def test_moments_follow_their_gaussians_and_new_ones_have_none() -> None:
    gaussians = _gaussians([0, 1, 2])
    (gaussians.parameters["means"] * torch.tensor([[1.0], [2.0], [3.0]])).sum().backward()
    gaussians.optimiser.step()
    before = gaussians.optimiser.state[gaussians.parameters["means"]]["exp_avg"].clone()
    gaussians.select(torch.tensor([2, 0]))
    gaussians.append({k: v.detach()[:1] for k, v in gaussians.parameters.items()}, torch.tensor([9]))
    after = gaussians.optimiser.state[gaussians.parameters["means"]]["exp_avg"]
    assert torch.equal(after[:2], before[[2, 0]])
    assert torch.equal(after[2], torch.zeros(3))
    assert gaussians.bindings.tolist() == [2, 0, 9]


def test_ssim_is_scikit_images_where_the_window_lies_inside() -> None:
    from skimage.metrics import structural_similarity

    draw = torch.Generator().manual_seed(0)
    a = torch.rand(1, 40, 40, 3, generator=draw, dtype=torch.float64)
    b = (a + 0.1 * torch.randn(1, 40, 40, 3, generator=draw, dtype=torch.float64)).clamp(0, 1)
    _, expected = structural_similarity(
        a[0].numpy(),
        b[0].numpy(),
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        full=True,
    )
    found = ssim_map(a, b)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected)[5:-5, 5:-5].max() < 1e-9
    assert photometric(a, a, 0.2).item() == pytest.approx(0, abs=1e-9)


class _Ball:
    """A tetrahedron with painted Gaussians, seen from twelve sides: a subject whose true cloud is known."""

    def __init__(self) -> None:
        corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.07
        self.faces = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
        self._corners = corners
        draw = torch.Generator().manual_seed(4)
        self.truth = Cloud(
            means=corners[self.faces].mean(1).repeat_interleave(4, 0) + 0.02 * torch.randn(16, 3, generator=draw),
            quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(16, 1),
            scales=torch.full((16, 3), 0.02),
            opacities=torch.full((16,), 0.9),
            colours=torch.rand(16, 3, generator=draw),
        )
        self._cameras = [orbit(2 * math.pi * n / 12, 32) for n in range(12)]
        white = torch.ones(3)
        self._images = [render(self.truth, [c], background=white).image[0].clamp(0, 1) for c in self._cameras]

    def __len__(self) -> int:
        return len(self._images)

    def image(self, view: int) -> Tensor:
        return self._images[view]

    def camera(self, view: int) -> Camera:
        return self._cameras[view]

    def vertices(self, view: int) -> Tensor:
        return self._corners

    def rest(self) -> Tensor:
        return self._corners

    def refinements(self) -> Sequence[tuple[Tensor, float]]:
        return []


def _config(steps: int = 60) -> FitConfig:
    return FitConfig(
        steps=steps, degree=None, refine=False, checkpoint_every=20, points=40,
        rates=Rates(means=(2e-2, 1e-3), scales=2e-2, colours=5e-2),
        densify=Densify(start=10, stop=50, every=10, gradient=1e-5, reset_every=10_000),
    )  # fmt: skip


def test_a_fit_learns_and_keeps_the_constraint() -> None:
    seen = []
    fit = Fit(_Ball(), range(12), _config(150), CPU)
    cloud = fit.run(seen.append)
    assert seen[-1].psnr > np.mean([p.psnr for p in seen[:12]]) + 4
    assert cloud.bindings is not None
    counts = torch.bincount(cloud.bindings, minlength=4)
    assert all(count == 0 or 4 <= count <= 15 for count in counts.tolist())
    assert len(cloud) <= 40
    frames = face_frames(fit.subject.rest(), fit.subject.faces)
    assert torch.allclose(cloud.means, fit.gaussians.world(frames).means)


def test_a_resumed_fit_ends_with_the_same_cloud(tmp_path: Path) -> None:
    whole = Fit(_Ball(), range(12), _config(), CPU).run(lambda progress: None)

    class Stop(Exception):
        pass

    def stop_at_30(progress: object) -> None:
        if getattr(progress, "step", 0) == 30:
            raise Stop

    with pytest.raises(Stop):
        Fit(_Ball(), range(12), _config(), CPU).run(stop_at_30, tmp_path)
    resumed = Fit(_Ball(), range(12), _config(), CPU)
    resumed.load(tmp_path / "checkpoint.pt")
    assert resumed.step == 20
    cloud = resumed.run(lambda progress: None)
    for name, value in vars(whole).items():
        assert torch.equal(getattr(cloud, name), value), name


@pytest.mark.parametrize("steps", [5, 13])
def test_a_fit_that_ends_before_the_next_densification_keeps_the_constraint_too(tmp_path: Path, steps: int) -> None:
    whole = Fit(_Ball(), range(12), _config(steps), CPU)
    cloud = whole.run(lambda progress: None)
    assert all(4 <= count <= 15 for count in _counts(whole.gaussians).values())
    assert len(cloud) <= 40
    part = Fit(_Ball(), range(12), _config(steps), CPU)
    for _ in range(3):
        part._one_step()
    part.save(tmp_path / "a.pt")
    resumed = Fit(_Ball(), range(12), _config(steps), CPU)
    resumed.load(tmp_path / "a.pt")
    after = resumed.run(lambda progress: None)
    assert all(torch.equal(getattr(after, name), value) for name, value in vars(cloud).items())
    free = _config(steps).model_copy(update={"density": Density(enabled=False), "densify": Densify(stop=0)})
    fit = Fit(_Ball(), range(12), free, CPU)
    fit.run(lambda progress: None)
    assert len(fit.gaussians) == 4


def test_a_cloud_that_meets_the_constraint_is_not_changed_by_it() -> None:
    gaussians = _gaussians([3] * 5 + [1] * 4 + [2] * 15, [0.02 + 0.03 * i for i in range(24)])
    before = {name: value.detach().clone() for name, value in gaussians.parameters.items()}
    draw = torch.Generator().manual_seed(0)
    state = draw.get_state()
    constrain(gaussians, Density(), 24, torch.zeros(4), draw)
    assert gaussians.bindings.tolist() == [3] * 5 + [1] * 4 + [2] * 15
    assert all(torch.equal(gaussians.parameters[name], value) for name, value in before.items())
    assert torch.equal(draw.get_state(), state)


def test_a_fit_that_breaks_down_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ball = _Ball()
    monkeypatch.setattr(ball, "image", lambda view: torch.full((32, 32, 3), math.nan))
    with pytest.raises(DataError, match=r"broke down at step 1: .* Choose lower rates"):
        Fit(ball, range(12), _config(), CPU).run(lambda progress: None)


def test_a_checkpoint_of_another_configuration_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    fit = Fit(_Ball(), range(12), _config(), CPU)
    fit.save(tmp_path / "a.pt")
    other = Fit(_Ball(), range(12), _config().model_copy(update={"points": 30}), CPU)
    with pytest.raises(DataError, match="points was 40 and is 30"):
        other.load(tmp_path / "a.pt")
    with pytest.raises(DataError, match="steps was 60 and is 30"):
        Fit(_Ball(), range(12), _config(30), CPU).load(tmp_path / "a.pt")
    Fit(_Ball(), range(12), _config().model_copy(update={"checkpoint_every": 7}), CPU).load(tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    for change, message in (
        ({"weights": torch.zeros(3)}, "is no checkpoint of a fit"),
        (torch.zeros(3), "is no checkpoint of a fit"),
        ({k: v for k, v in state.items() if k != "format"}, "by another version of avatarbench .* fit again"),
        ({**state, "format": 99}, r"format 99, and this one reads"),
        ({k: v for k, v in state.items() if k not in ("origin", "draw")}, "lacks origin, draw"),
        ({**state, "config": "{}}"}, "is no checkpoint of a fit"),
    ):
        torch.save(change, tmp_path / "c.pt")
        with pytest.raises(DataError, match=message):
            fit.load(tmp_path / "c.pt")
    (tmp_path / "b.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:100])
    with pytest.raises(DataError, match="no checkpoint of a fit"):
        fit.load(tmp_path / "b.pt")
    with pytest.raises(DataError, match="does not exist"):
        fit.load(tmp_path / "none.pt")


def test_presets_load_and_wrong_keys_are_named() -> None:
    assert load_preset("mini").points == 1500
    assert load_preset("paper").steps == 600_000
    assert load_preset("mini", ["density.enabled=false"]).density.enabled is False
    with pytest.raises(UsageError, match=r"density"):
        load_preset("mini", ["density.least=20"])
    with pytest.raises(UsageError, match="stepps"):
        load_preset("mini", ["stepps=3"])
    with pytest.raises(UsageError, match="medium"):
        load_preset("medium")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("rates", "scales", -1), ("rates", "colours", math.nan), ("rates", "opacities", math.inf),
        ("rates", "means", (0, 1e-3)), ("rates", "means", (1e-3, 0)), ("rates", "means", (math.nan, 1e-3)),
        ("densify", "fade", 0.5), ("densify", "gradient", math.inf), ("densify", "size", math.nan),
        ("losses", "position", -0.1), ("losses", "scale", math.inf), ("losses", "scale_free", math.nan),
        ("start", "opacity", math.nan), ("start", "scale", math.inf), ("start", "thickness", 1e-30),
        ("density", "most", 10**30),
    ],
)  # fmt: skip
def test_values_that_no_fit_survives_are_refused(section: str, key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=rf"{section}\.{key}"):
        FitConfig.model_validate({section: {key: value}})


def test_a_seed_below_zero_and_a_share_that_is_no_number_are_refused() -> None:
    for text in ("seed=-1", "coarse=.nan", "rates.scales=.inf"):
        with pytest.raises(UsageError, match=text.partition("=")[0]):
            load_preset("mini", [text])


def test_the_extremes_that_are_allowed_give_a_finite_cloud() -> None:
    rates = Rates(means=(10, 1e-12), scales=0, quaternions=10, opacities=10, colours=10)
    plan = Densify(start=0, every=5, fade=0.499, reset_every=5)
    for start in (Start(opacity=1e-4, scale=1e-4, thickness=1e-4), Start(opacity=0.9999, scale=1e3, thickness=1e3)):
        config = _config(15).model_copy(update={"rates": rates, "densify": plan, "start": start})
        cloud = Fit(_Ball(), range(12), config, CPU).run(lambda progress: None)
        assert all(bool(value.isfinite().all()) for value in vars(cloud).values())
