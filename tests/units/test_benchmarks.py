"""What the benchmarks print of agreement, where it matters that they do not flatter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from benchmarks import metrics, oracles, peer
from tests.oracles import reference


def test_a_metric_beyond_the_tolerance_is_named_and_a_value_that_one_side_lacks_counts() -> None:
    assert metrics.disagreement({"psnr": 0.0, "ssim": metrics.TOLERANCE}) is None
    fault = metrics.disagreement({"psnr": 0.0, "ssim": 2e-5, "akd-mediapipe": math.inf, "csim-dlib": math.nan})
    assert fault is not None
    assert fault.endswith("differ by more than 1e-05: ssim by 2.0e-05, akd-mediapipe by inf, csim-dlib by nan")


class Wrong:
    """A peer that measures another thing."""

    layout = "contiguous NCHW"

    def __init__(self, channels_last: bool) -> None:
        self.features: list[float] = []

    def score(self, prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
        return {"psnr": 20.0}

    def frechet(self) -> float:
        return 1.0

    def close(self) -> None:
        pass


@pytest.mark.slow
def test_a_disagreement_fails_the_benchmark_before_its_ratio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peer, "Peer", Wrong)
    monkeypatch.setattr(metrics, "SUITE", ("psnr", "fd-vgg"))
    monkeypatch.setattr("sys.argv", ["metrics.py", "--pairs", "2", "--size", "64"])
    with pytest.raises(SystemExit, match=r"differ by more than 1e-05: psnr by .*, fd-vgg by "):
        metrics.main()
    printed = capsys.readouterr().out
    assert "peer: contiguous NCHW, VGG16 for lpips-vgg and again for fd-vgg" in printed
    assert "ratio" not in printed


def test_the_peer_in_channels_last_computes_the_same_in_that_layout() -> None:
    picture = np.ascontiguousarray(astronaut()[:64, 150:214])
    plain, last = reference.torchvision_vgg(), peer.Peer(channels_last=True)
    assert next(last.trunk.parameters()).is_contiguous(memory_format=torch.channels_last)
    assert last._input(picture).is_contiguous(memory_format=torch.channels_last)
    theirs = reference.vgg_pooled(last.trunk, picture, torch.channels_last)
    last.close()
    np.testing.assert_allclose(theirs, reference.vgg_pooled(plain, picture), rtol=1e-4, atol=1e-5)


def test_a_figure_that_was_not_measured_is_not_a_zero() -> None:
    assert (oracles._figure(None), oracles._figure(0.0)) == ("n/a", "0.0e+00")
