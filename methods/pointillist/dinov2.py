"""DINOv2 ViT-L/14 with registers (Oquab et al. 2023, Darcet et al. 2023): its published weights in timm's network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from avatarbench.errors import AssetError
from avatarbench.metrics.networks import read_state_dict

PATCH = 14
REGISTERS = 4
DEPTH, WIDTH, HEADS = 24, 1024, 16
"""Of ViT-L."""

_RENAMED = ("cls_token", "pos_embed", "register_tokens", "mask_token")


class Tokens(nn.Module):
    """timm's network without its head: (B, 3, S, S) -> (B, 1 + 4 + (S / 14)^2, W), after the final norm: the class
    token, the registers, the patches row by row from the top left."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.network.forward_features(pixels)  # type: ignore[operator]
        return found


def dinov2(path: Path, size: int, depth: int = DEPTH, width: int = WIDTH, heads: int = HEADS) -> nn.Module:
    """The network with the weights of ``path``, named as in the owner's repository; 1,374 tokens of 1,024 at 518 px.

    Raises AssetError where the names or shapes are another network's, or the weights were trained at another ``size``:
    their places would have to be resampled, and the tokens would no longer be the published network's.
    """
    network = untrained(size, depth, width, heads)
    state = renamed(read_state_dict(path), path)
    wanted = network.state_dict()
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unknown:
        raise AssetError(
            f"{path} is not DINOv2 ViT-L/14 with registers: it lacks {_few(missing)}, and {_few(unknown)} "
            "has no place in it. Fetch dinov2_vitl14_reg4_pretrain.pth of its owner."
        )
    for name, value in state.items():
        if value.shape != wanted[name].shape:
            raise AssetError(
                f"{path} has '{name}' of {tuple(value.shape)}, and at {size} pixels it is {tuple(wanted[name].shape)}: "
                "these weights are for another size."
            )
    network.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    return Tokens(network)


def untrained(size: int, depth: int = DEPTH, width: int = WIDTH, heads: int = HEADS) -> nn.Module:
    """timm's ``vit_large_patch14_reg4_dinov2``, or a smaller one, without numbers: on the meta device."""
    from timm.models.vision_transformer import VisionTransformer

    with torch.device("meta"):  # no memory and no draws for numbers that a file replaces
        network: nn.Module = VisionTransformer(
            img_size=size,
            patch_size=PATCH,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            init_values=1e-5,
            reg_tokens=REGISTERS,
            no_embed_class=True,
            num_classes=0,
            global_pool="token",
        )
    return network


def renamed(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The owner's names as timm's. There the class token has no place of its own in ``pos_embed``: it is in the token;
    ``mask_token`` is used in training alone. Raises AssetError where one of these is not there."""
    for name in _RENAMED:
        if name not in state:
            raise AssetError(f"{path} has no '{name}': it is not DINOv2's file of a network with registers.")
    places = state["pos_embed"]
    if places.ndim != 3 or places.shape[1] < 2 or state["cls_token"].shape != places[:, :1].shape:
        raise AssetError(f"{path} has 'pos_embed' of {tuple(places.shape)}, which is not DINOv2's: fetch it again.")
    found = {
        "cls_token": state["cls_token"] + places[:, :1],
        "pos_embed": places[:, 1:],
        "reg_token": state["register_tokens"],
    }
    return found | {name: value for name, value in state.items() if name not in _RENAMED}


def _few(names: list[str]) -> str:
    return "nothing" if not names else ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
