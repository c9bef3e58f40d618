"""6DRepNet360's loader and network on randomly initialised checkpoints saved to files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avatarbench.errors import AssetError
from avatarbench.metrics.features import Frame, Missing
from avatarbench.metrics.sixdrepnet360 import Network, SixDRepNet360, face_crop, gram_schmidt, load_network


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Network().state_dict()


@pytest.fixture(scope="module")
def checkpoint(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("6d") / "random.pth"
    torch.save({"model_state_dict": state}, path)
    return path


def frame(seed: int, size: int = 120) -> Frame:
    draw = np.random.default_rng(seed)
    made = Frame(draw.integers(0, 256, (size, size, 3), np.uint8))
    made.put("face", {"landmarks": draw.uniform(size * 0.2, size * 0.8, (478, 3)).astype(np.float32)})
    return made


def box(left: float, top: float, right: float, bottom: float) -> NDArray[np.float32]:
    made = np.full((478, 3), (left, top, 0), np.float32)
    made[1] = (right, bottom, 0)
    return made


def test_the_state_dict_has_the_published_checkpoints_names(state: dict[str, torch.Tensor]) -> None:
    assert {name.split(".")[0] for name in state} == {
        *("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "linear_reg")
    }
    assert state["linear_reg.weight"].shape == (6, 2048)
    assert [sum(n.startswith(f"layer{i}.") and n.endswith("conv3.weight") for n in state) for i in (1, 2, 3, 4)] == [
        *(3, 4, 6, 3)
    ]


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_checkpoint_loads_wrapped_or_plain(state: dict[str, torch.Tensor], tmp_path: Path, wrapped: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save({"model_state_dict": state} if wrapped else state, path)
    loaded = load_network(path, "cpu")
    assert not loaded.training
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in state.items())


def test_loading_draws_nothing_from_the_global_generator(checkpoint: Path) -> None:
    before = torch.get_rng_state()
    load_network(checkpoint, "cpu")
    assert torch.equal(torch.get_rng_state(), before)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("unpickled",))


def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    state: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: tmp_path / f"{name}.pth" for name in ("missing", "text", "harmful", "tensor", "absent")}
    torch.save({k: v for k, v in state.items() if k != "linear_reg.bias"}, files["missing"])
    files["text"].write_text("not a checkpoint")
    files["harmful"].write_bytes(pickle.dumps(Harmful(), protocol=2))
    torch.save(torch.zeros(3), files["tensor"])
    for name, path in files.items():
        with pytest.raises(AssetError, match=rf"{name}\.pth is not a 6DRepNet360 checkpoint"):
            load_network(path, "cpu")
    assert "unpickled" not in capsys.readouterr().out


def test_the_output_is_a_proper_rotation_for_any_six_numbers() -> None:
    six = torch.randn(64, 6, generator=torch.Generator().manual_seed(1)).double() * 10
    rotation = gram_schmidt(six)
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).double().expand(64, 3, 3), atol=1e-12)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(64).double(), atol=1e-12)
    unit = six[:, :3] / six[:, :3].norm(dim=1, keepdim=True)
    assert torch.allclose(rotation[:, :, 0], unit, atol=1e-12)


def test_rotations_are_proper_and_do_not_move_with_order_or_batch(checkpoint: Path) -> None:
    frames = [frame(seed, size) for seed, size in enumerate((120, 64, 200))]
    together = SixDRepNet360(checkpoint=checkpoint).extract(frames)
    backwards = SixDRepNet360(checkpoint=checkpoint).extract(frames[::-1])[::-1]
    for a, b in zip(together, backwards, strict=True):
        assert not isinstance(a, Missing)
        assert not isinstance(b, Missing)
        rotation = a["rotation"]
        assert rotation.dtype == np.float32
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
        assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-5)
        assert np.array_equal(rotation, b["rotation"])


def test_a_frame_without_a_face_has_no_rotation_and_needs_no_network() -> None:
    faceless = Frame(np.zeros((8, 8, 3), np.uint8))
    faceless.put("face", Missing("no face found"))
    assert SixDRepNet360(checkpoint=Path("unread")).extract([faceless]) == [Missing("no face found")]


def test_the_crop_widens_the_box_by_a_fifth_of_the_other_side_and_stays_in_the_image() -> None:
    image = np.arange(200 * 300 * 3, dtype=np.uint32).astype(np.uint8).reshape(200, 300, 3)
    inside = face_crop(image, box(100, 50, 160, 150))
    assert not isinstance(inside, Missing)
    assert np.array_equal(inside, image[50 - 12 : 150 + 12, 100 - 20 : 160 + 20])
    cut = face_crop(image, box(-5, 10, 290, 195))
    assert not isinstance(cut, Missing)
    assert np.array_equal(cut, image)
    assert face_crop(image, box(900, 50, 960, 150)) == Missing("the face lies outside the image")


def test_the_fingerprint_follows_the_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(b"other")
    assert SixDRepNet360(checkpoint=other).fingerprint != SixDRepNet360(checkpoint=checkpoint).fingerprint
