"""DINOv2's published layout in timm's network: the tokens are those of the owner's forward pass and of timm's own
converter. The owner's code is no package of the registry, so its forward pass is written out here, on its own names."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, linear

from avatarbench.errors import AssetError, UsageError
from avatarbench.methods.pointillist.config import ImageTokens
from avatarbench.methods.pointillist.dinov2 import PATCH, REGISTERS, dinov2, untrained
from avatarbench.methods.pointillist.images import load_encoder

SIZE, DEPTH, WIDTH, HEADS = 4 * PATCH, 3, 48, 3
State = dict[str, Tensor]


def published(size: int = SIZE) -> State:
    """Random numbers under the names, and in the shapes, of ``dinov2_vitl14_reg4_pretrain.pth``, but smaller."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + (size // PATCH) ** 2, WIDTH),
        "register_tokens": (1, REGISTERS, WIDTH),
        "mask_token": (1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    for n in range(DEPTH):
        for name, shape in {
            "norm1": (WIDTH,),
            "attn.qkv": (3 * WIDTH, WIDTH),
            "attn.proj": (WIDTH, WIDTH),
            "norm2": (WIDTH,),
            "mlp.fc1": (4 * WIDTH, WIDTH),
            "mlp.fc2": (WIDTH, 4 * WIDTH),
        }.items():
            shapes[f"blocks.{n}.{name}.weight"] = shape
            shapes[f"blocks.{n}.{name}.bias"] = shape[:1]
        shapes[f"blocks.{n}.ls1.gamma"] = shapes[f"blocks.{n}.ls2.gamma"] = (WIDTH,)
    return {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}


def owners(state: State, pixels: Tensor) -> Tensor:
    """(B, 1 + 4 + patches, W): class token and registers among the patches as the owner has them, pre-norm blocks with
    layer scale, the final norm."""

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def dense(x: Tensor, name: str) -> Tensor:
        return linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    patches = conv2d(pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=PATCH)
    batch = len(pixels)
    x = torch.cat([state["cls_token"].expand(batch, -1, -1), patches.flatten(2).transpose(1, 2)], 1)
    x = x + state["pos_embed"]
    x = torch.cat([x[:, :1], state["register_tokens"].expand(batch, -1, -1), x[:, 1:]], 1)
    for n in range(DEPTH):
        at = f"blocks.{n}"
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in dense(norm(x, f"{at}.norm1"), f"{at}.attn.qkv").chunk(3, -1)
        )
        weights = (q @ k.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5).softmax(-1)
        seen = dense((weights @ v).transpose(1, 2).flatten(2), f"{at}.attn.proj")
        x = x + state[f"{at}.ls1.gamma"] * seen
        thought = dense(gelu(dense(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1")), f"{at}.mlp.fc2")
        x = x + state[f"{at}.ls2.gamma"] * thought
    return norm(x, "norm")


def saved(folder: Path, state: State) -> Path:
    path = folder / "dinov2.pth"
    torch.save(state, path)
    return path


def pixels() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def test_tokens_are_the_owners(tmp_path: Path) -> None:
    state = published()
    ours = dinov2(saved(tmp_path, state), SIZE, DEPTH, WIDTH, HEADS).eval()
    with torch.no_grad():
        found = ours(pixels())
        expected = owners(state, pixels())
    assert found.shape == (2, 1 + REGISTERS + 16, WIDTH)
    assert float((found - expected).abs().max()) < 1e-5


def test_the_names_are_those_of_timms_converter(tmp_path: Path) -> None:
    ours = dinov2(saved(tmp_path, published()), SIZE, DEPTH, WIDTH, HEADS).eval()
    theirs = VisionTransformer(
        img_size=SIZE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        init_values=1e-5,
        reg_tokens=REGISTERS,
        no_embed_class=True,
        num_classes=0,
    ).eval()
    theirs.load_state_dict(checkpoint_filter_fn(published(), theirs))
    with torch.no_grad():
        assert torch.equal(ours(pixels()), theirs.forward_features(pixels()))


def test_the_network_is_timms_vit_large() -> None:
    with torch.device("meta"):
        theirs = timm.create_model("vit_large_patch14_reg4_dinov2", num_classes=0)
    ours = untrained(518)
    assert repr(ours) == repr(theirs)
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    assert shapes == {name: value.shape for name, value in theirs.state_dict().items()}
    assert shapes["pos_embed"] == (1, 1374 - 1 - REGISTERS, 1024)


@pytest.mark.parametrize("name", ["cls_token", "register_tokens", "mask_token", "blocks.1.ls1.gamma", "norm.bias"])
def test_weights_that_lack_a_part_are_refused_by_name(tmp_path: Path, name: str) -> None:
    state = published()
    del state[name]
    with pytest.raises(AssetError, match=name.replace(".", r"\.")):
        dinov2(saved(tmp_path, state), SIZE, DEPTH, WIDTH, HEADS)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"head\.weight"):
        dinov2(saved(tmp_path, published() | {"head.weight": torch.zeros(3)}), SIZE, DEPTH, WIDTH, HEADS)
    with pytest.raises(AssetError, match=r"blocks\.2\."):
        dinov2(saved(tmp_path, published()), SIZE, DEPTH - 1, WIDTH, HEADS)
    with pytest.raises(AssetError, match="another size"):
        dinov2(saved(tmp_path, published(SIZE + PATCH)), SIZE, DEPTH, WIDTH, HEADS)
    with pytest.raises(AssetError, match="pos_embed"):
        dinov2(saved(tmp_path, published() | {"pos_embed": torch.zeros(3)}), SIZE, DEPTH, WIDTH, HEADS)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, published())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(AssetError, match=r"dinov2\.pth"):
        dinov2(path, SIZE, DEPTH, WIDTH, HEADS)


def test_a_size_between_patches_is_refused_before_any_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="500"):
        load_encoder(ImageTokens(encoder="dinov2-vitl14-reg", size=500), weights=tmp_path / "none.pth")


def test_missing_weights_are_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("AVATARBENCH_ASSETS", raising=False)
    with pytest.raises(AssetError, match="avatarbench assets pull dinov2-vitl14-reg"):
        load_encoder(ImageTokens())
