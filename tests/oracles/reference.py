"""The independent implementations that our metrics are held against, and ours beside them on the same frames.

Shared by the oracle tests, ``benchmarks/oracles.py`` and the peer of ``benchmarks/metrics.py``.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from avatarbench import assets, registry
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.features import Frame
from avatarbench.metrics.scorer import Item, LazyImage, Scorer
from avatarbench.registry import metric

Image = NDArray[np.uint8]
ASSET = {"alex": "lpips-alexnet", "vgg": "lpips-vgg16"}


def relative(ours: float, theirs: float) -> float:
    """|ours - theirs| / |theirs|."""
    return abs(ours - theirs) / max(abs(theirs), 1e-12)


def image_pairs(count: int = 3, size: int = 96) -> list[tuple[Image, Image]]:
    """(prediction, target) crops of the astronaut, the prediction shifted, dimmed and noisy by growing amounts."""
    import skimage.data

    picture = skimage.data.astronaut()
    noise = np.random.default_rng(7)
    pairs = []
    for n in range(count):
        top, left = 30 + 20 * n, 140 + 15 * n
        target = picture[top : top + size, left : left + size]
        moved = picture[top + n : top + n + size, left + 2 : left + 2 + size].astype(np.float64)
        moved = moved * (1 - 0.03 * n) + noise.normal(0, 4 + 6 * n, moved.shape)
        pairs.append((np.clip(np.rint(moved), 0, 255).astype(np.uint8), np.ascontiguousarray(target)))
    return pairs


def ours_on_pairs(name: str, pairs: Sequence[tuple[Image, Image]], batch: int = 8) -> list[float]:
    """Our pair metric through the scorer, as a run computes it."""
    spec = metric(name)
    groups = [
        [Item(str(n), "m", _lazy(f"p{n}", p), {spec.against: _lazy(f"t{n}", t)})] for n, (p, t) in enumerate(pairs)
    ]
    scorer = Scorer([spec], FeatureCache(None), batch=batch)
    try:
        return [scores[0].value for scores in scorer.score(groups)]
    finally:
        scorer.close()


def ours_on_sets(name: str, predictions: Sequence[Image], references: Sequence[Image], batch: int = 8) -> float:
    """Our set metric through the scorer."""
    scorer = Scorer([metric(name)], FeatureCache(None), batch=batch)
    try:
        sides = [[_lazy(f"{s}{n}", i) for n, i in enumerate(v)] for s, v in (("p", predictions), ("r", references))]
        return scorer.set_value(name, sides[0], sides[1]).value
    finally:
        scorer.close()


def _lazy(key: str, image: Image) -> LazyImage:
    return LazyImage(key, lambda: image)


def pair_metric(name: str) -> Any:
    return registry.load(metric(name).factory)()


def frames(images: Sequence[Image]) -> list[Frame]:
    return [Frame(image) for image in images]


def psnr_skimage(prediction: Image, target: Image) -> float:
    from skimage.metrics import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(target, prediction, data_range=255))


def psnr_torchmetrics(prediction: Image, target: Image) -> float:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return peak_signal_noise_ratio(_planes(prediction), _planes(target), data_range=255.0).item()


def ssim_skimage(prediction: Image, target: Image) -> float:
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            target,
            prediction,
            data_range=255,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def ssim_torchmetrics(prediction: Image, target: Image) -> float:
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, index = structural_similarity_index_measure(
        _planes(prediction), _planes(target), data_range=255.0, return_full_image=True
    )
    return index[..., 5:-5, 5:-5].mean().item()  # its border is computed on mirrored pixels


def _planes(image: Image) -> torch.Tensor:
    """(1, 3, H, W) float64."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].double()


def lpips_package(net: str) -> torch.nn.Module:
    """``lpips.LPIPS`` with its own heads, and its own trunk definition holding our ported weights."""
    import lpips

    with warnings.catch_warnings():  # the package calls torchvision by its deprecated argument
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    state = load_file(assets.pull(ASSET[net]))
    for part in (getattr(model.net, f"slice{n}") for n in range(1, 6)):
        part.load_state_dict({k: state[f"features.{k}"] for k in part.state_dict()})
    return model.eval().requires_grad_(False)


def lpips_input(image: Image) -> torch.Tensor:
    import lpips

    return lpips.im2tensor(image)


def vgg_pooled(
    model: torch.nn.Module, image: Image, layout: torch.memory_format = torch.contiguous_format
) -> NDArray[np.float32]:
    """(512,) of torchvision's ``vgg16().features[:30]`` under torchvision's ImageNet normalisation."""
    from torchvision.transforms.functional import normalize, to_tensor

    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    with torch.inference_mode():
        batch = normalize(to_tensor(image), mean, deviation)[None].contiguous(memory_format=layout)
        return model(batch).mean(dim=(2, 3))[0].numpy()


def torchvision_vgg() -> torch.nn.Module:
    from torchvision.models import vgg16

    model = vgg16(weights=None, init_weights=False).features[:30]
    state = load_file(assets.pull("lpips-vgg16"))
    model.load_state_dict({k: state[f"features.{k}"] for k in model.state_dict()})
    return model.eval().requires_grad_(False)


def frechet_scipy(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """Frechet distance of two (N, D) feature sets by scipy's matrix square root in float64."""
    from scipy.linalg import sqrtm

    a, b = a.astype(np.float64), b.astype(np.float64)
    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    with warnings.catch_warnings():  # scipy warns that a rank-deficient product has no unique root; its trace does
        warnings.simplefilter("ignore")
        root = sqrtm(one @ two)
    delta = a.mean(axis=0) - b.mean(axis=0)
    return float(delta @ delta + np.trace(one + two) - 2 * np.trace(root).real)


def frechet_pytorch_fid(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """The distance by torch-fidelity's predecessor pytorch-fid, whose sqrtm call scipy has since changed."""
    from pytorch_fid import fid_score
    from scipy.linalg import sqrtm

    class Linalg:
        @staticmethod
        def sqrtm(matrix: NDArray[np.float64], disp: bool = True) -> Any:
            root = sqrtm(matrix)
            return root if disp else (root, 0.0)

    a, b = a.astype(np.float64), b.astype(np.float64)
    original, fid_score.linalg = fid_score.linalg, Linalg
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(
                fid_score.calculate_frechet_distance(
                    a.mean(axis=0), np.cov(a, rowvar=False), b.mean(axis=0), np.cov(b, rowvar=False)
                )
            )
    finally:
        fid_score.linalg = original


def frechet_torch_fidelity(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    one, two = (fid_features_to_statistics(torch.from_numpy(x.astype(np.float64))) for x in (a, b))
    return float(fid_statistics_to_metric(one, two, verbose=False)["frechet_inception_distance"])


def kid_torch_fidelity(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]], size: int) -> float:
    from torch_fidelity.metric_kid import kid_features_to_metric

    one, two = (torch.from_numpy(x.astype(np.float64)) for x in (a, b))
    found = kid_features_to_metric(one, two, kid_subset_size=size, kid_subsets=100, rng_seed=2020, verbose=False)
    return float(found["kernel_inception_distance_mean"])


def kid_torchmetrics(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """Of whole sets of equal size: there the subsets do not matter."""
    from torchmetrics.image.kid import poly_mmd

    return poly_mmd(torch.from_numpy(a.astype(np.float64)), torch.from_numpy(b.astype(np.float64))).item()


def random_inception(path: Path, seed: int = 0) -> Path:
    """A weights file in the layout of the pinned Inception, randomly initialised so that features keep their spread."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: Any, **__: Any) -> Any:
            return None

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    model = Untrained("inception", ["2048"], feature_extractor_weights_path=empty)
    draw = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in model.state_dict().items():
        if value.ndim == 4:  # He's deviation keeps the activations' scale through the ReLUs
            value = torch.randn(value.shape, generator=draw) * (2 / value[0].numel()) ** 0.5
        elif value.ndim == 2:
            value = torch.randn(value.shape, generator=draw) * 0.01
        elif name.endswith("bn.bias"):
            value = torch.randn(value.shape, generator=draw) * 0.1
        state[name] = value
    torch.save(state, path)
    return path


def inception_torch_fidelity(path: Path, images: Sequence[Image]) -> NDArray[np.float32]:
    """(N, 2048) by torch-fidelity's own extractor from the same file."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    model = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path))
    with torch.inference_mode():
        (found,) = model(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))
    return found.numpy()


def resize_tensorflow_1(image: Image, size: int) -> NDArray[np.float64]:
    """(size, size, 3) by TensorFlow 1's ``resize_bilinear`` (align_corners=False), written from its rule: an output
    index looks at input index * old / new, with no offset of half a pixel, and the last row and column repeat."""
    found = image.astype(np.float64)
    for axis in (0, 1):
        length = found.shape[axis]
        source = np.arange(size) * length / size
        low = source.astype(int)
        part = (source - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        first, second = (np.take(found, np.minimum(low + step, length - 1), axis) for step in (0, 1))
        found = first + (second - first) * part
    return found


def inception_pytorch_fid(path: Path, images: Sequence[Image]) -> NDArray[np.float32]:
    """(N, 2048) by pytorch-fid's network from the same file, behind :func:`resize_tensorflow_1` to 299 x 299.

    Its own scaling of [0, 1] is 2 x - 1: given x / 256 that is the TensorFlow graph's (x - 128) / 128.
    """
    from pytorch_fid import inception

    original = inception.load_state_dict_from_url
    inception.load_state_dict_from_url = lambda *_, **__: torch.load(path, weights_only=True)
    try:
        model = inception.InceptionV3([3], resize_input=False).eval()
    finally:
        inception.load_state_dict_from_url = original
    with torch.inference_mode():
        resized = np.stack([resize_tensorflow_1(image, 299) for image in images]).astype(np.float32)
        (found,) = model(torch.from_numpy(resized).permute(0, 3, 1, 2) / 256)
    return found[:, :, 0, 0].numpy()


def random_clip(path: Path, seed: int = 0) -> Path:
    """A safetensors state dict of the pinned CLIP model, randomly initialised."""
    import open_clip
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
    save_file({k: v.contiguous() for k, v in model.state_dict().items() if k != "attn_mask"}, path)
    return path


def clip_embedding(path: Path, images: Sequence[Image]) -> NDArray[np.float32]:
    """(N, 512) by open_clip's own factory and evaluation transform from the same file."""
    import open_clip
    from PIL import Image as Pillow

    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=str(path))
    with torch.inference_mode():
        batch = torch.stack([transform(Pillow.fromarray(image)) for image in images])
        return model.eval().encode_image(batch).numpy()
