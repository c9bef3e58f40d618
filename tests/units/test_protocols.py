import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from avatarbench import registry
from avatarbench.datasets.folder import FolderDataset
from avatarbench.run.config import RunConfig
from avatarbench.run.plan import make_manifest


@pytest.mark.parametrize("name", ["portrait-cross", "clip-self"])
def test_a_protocol_names_only_what_is_registered(name: str) -> None:
    spec = registry.protocol(name)
    assert set(spec.metrics) <= set(registry.names("metrics"))
    assert len(set(spec.metrics)) == len(spec.metrics)
    assert {spec.sources.dataset, spec.drivers.dataset} <= set(registry.names("datasets"))
    assert spec.image.size == 256


def test_self_reenactment_never_drives_with_the_source(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for i in range(20):
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / "clip" / f"{i}.png")
    spec = registry.protocol("clip-self")
    assert "target" in spec.provides
    pairs = make_manifest(
        spec, RunConfig(methods=["oracle"], protocol=spec.id), {"clip": FolderDataset(tmp_path)}
    ).pairs
    assert [(p.source.index, p.driver.index) for p in pairs] == [(0, 8), (0, 16)]
    assert all(p.target == p.driver for p in pairs)


def test_cross_reenactment_has_no_truth_to_compare_pixels_with() -> None:
    spec = registry.protocol("portrait-cross")
    assert spec.task == "cross"
    assert "target" not in spec.provides
    assert not {"psnr", "ssim", "lpips-alex", "lpips-vgg"} & set(spec.metrics)


def test_protocols_datasets_and_methods_are_listed_without_heavy_imports() -> None:
    code = (
        "import sys; from avatarbench import registry\n"
        "for kind in ('protocols', 'datasets', 'methods'): assert registry.everything(kind)\n"
        "print([m for m in ('numpy', 'torch', 'skimage', 'av', 'cv2', 'mediapipe', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
