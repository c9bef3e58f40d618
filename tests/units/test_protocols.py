import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from avatarbench import registry
from avatarbench.datasets.folder import FolderDataset
from avatarbench.run.config import RunConfig
from avatarbench.run.plan import make_manifest

OPENHEADS = ["openheads-self", "openheads-cross", "openheads-cross-gt"]


@pytest.mark.parametrize("name", ["portrait-cross", "clip-self", *OPENHEADS])
def test_a_protocol_names_only_what_is_registered(name: str) -> None:
    spec = registry.protocol(name)
    assert set(spec.metrics) <= set(registry.names("metrics"))
    assert len(set(spec.metrics)) == len(spec.metrics)
    assert set(spec.datasets) <= set(registry.names("datasets"))
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


@pytest.mark.parametrize("name", OPENHEADS)
def test_openheads_asks_for_every_metric_that_can_be_had(name: str) -> None:
    spec = registry.protocol(name)
    known = [registry.metric(m) for m in registry.names("metrics") if registry.owner("metrics", m) == "avatarbench"]
    possible = {m.id for m in known if m.against != "target" or "target" in spec.provides}
    assert set(spec.metrics) == possible
    assert "flame" in spec.provides  # where the run imports tracking; preflight says where it does not


def test_manifests_of_older_protocols_are_what_they_were() -> None:
    """Recorded before protocols could name sequences, identities and truth."""
    spec = registry.protocol("portrait-cross")
    datasets = {name: registry.load(registry.dataset(name).factory)(None) for name in spec.datasets}
    manifest = make_manifest(spec, RunConfig(methods=["any"], protocol=spec.id), datasets)
    assert manifest.digest() == "69ba62d7acb3148f3c39a92105a3a0a26bbada5c40c4c9833e147ce6fa548643"


def test_protocols_datasets_and_methods_are_listed_without_heavy_imports() -> None:
    code = (
        "import sys; from avatarbench import registry\n"
        "for kind in ('protocols', 'datasets', 'methods'): assert registry.everything(kind)\n"
        "print([m for m in ('numpy', 'torch', 'skimage', 'av', 'cv2', 'mediapipe', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
