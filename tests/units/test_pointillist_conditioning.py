"""What AvatarPointillist is conditioned on: surface samples, image tokens, the perceiver, and a user's portrait."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.stats import chisquare
from skimage.data import astronaut
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d

from avatarbench import assets
from avatarbench.errors import AssetError, DataError, UsageError
from avatarbench.heads.rig import faces_digest
from avatarbench.method import FaceTrack
from avatarbench.methods.pointillist import conditioning
from avatarbench.methods.pointillist.build_portraits import track
from avatarbench.methods.pointillist.conditioning import (
    FACE_CENTRE,
    FACE_SHARE,
    framed,
    mesh_condition,
    portrait_condition,
    read_portrait,
    tracked,
)
from avatarbench.methods.pointillist.config import Config, ImageTokens, PointTokens
from avatarbench.methods.pointillist.images import ImageEncoder, load_encoder, prepared
from avatarbench.methods.pointillist.surface import normalised, sample_surface
from avatarbench.methods.pointillist.surface_encoder import SurfaceEncoder, fourier
from avatarbench.methods.pointillist.tokenizer import Cube, Tokenizer, Vocabulary
from avatarbench.methods.pointillist.vgg import Grid
from avatarbench.metrics.face import FaceLandmarker

CUBE = Cube((-0.25, -0.2, -0.3), 0.5)
TOKENIZER = Tokenizer(Vocabulary(1024, 9014), CUBE, "z")
CONFIG = Config(rig="anny", fit="paper", faces=9014, points=PointTokens(samples=300))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def box() -> tuple[Tensor, Tensor]:
    """A box of 1 x 2 x 3 metres, corners counter-clockwise from outside, and a face without area."""
    corners = [[x, y, z] for x in (0.0, 1.0) for y in (0.0, 2.0) for z in (0.0, 3.0)]
    squares = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in squares for face in ((a, b, c), (a, c, d))]
    return torch.tensor(corners), torch.tensor([(0, 0, 7), *faces, (3, 3, 3)])


def sphere() -> tuple[Tensor, Tensor]:
    """An octahedron, cut three times and pushed out to radius one."""
    v = [[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]
    f = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    triangles = torch.tensor(v)[torch.tensor(f)]
    for _ in range(3):
        a, b, c = triangles.unbind(1)
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        triangles = torch.cat([torch.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    points = triangles.reshape(-1, 3)
    return points / points.norm(dim=1, keepdim=True), torch.arange(len(points)).reshape(-1, 3)


def test_samples_are_uniform_by_area() -> None:
    """On a box, by chi-square over its six sides and, on one side, over a grid of equal squares."""
    vertices, faces = box()
    samples = sample_surface(vertices, faces, 24_000, seeded())
    places, normals = samples[:, :3], samples[:, 3:]
    sides = [int(((normals * sign)[:, axis] > 0.99).sum()) for axis in range(3) for sign in (1.0, -1.0)]
    areas = np.repeat([6.0, 3.0, 2.0], 2)
    assert sum(sides) == len(samples)
    assert chisquare(sides, areas / areas.sum() * len(samples)).pvalue > 0.01
    front = places[normals[:, 0] > 0.99]
    cells = (front[:, 1] * 4).long().clamp_max(7) * 12 + (front[:, 2] * 4).long().clamp_max(11)
    assert chisquare(torch.bincount(cells, minlength=96).numpy()).pvalue > 0.01


def test_samples_lie_on_the_surface_with_unit_normals_that_look_outward() -> None:
    vertices, faces = sphere()
    samples = sample_surface(vertices, faces, 5000, seeded()).double()
    places, normals = samples[:, :3], samples[:, 3:]
    assert torch.allclose(normals.norm(dim=1), torch.ones(5000, dtype=torch.float64), atol=1e-6)
    radius = places.norm(dim=1)
    assert float(radius.min()) > 0.95
    assert float(radius.max()) <= 1 + 1e-6
    assert float(((places / radius[:, None]) * normals).sum(1).min()) > 0.97
    assert float(places.mean(0).abs().max()) < 0.03


def test_samples_depend_on_the_generator_alone() -> None:
    vertices, faces = box()
    one = sample_surface(vertices, faces, 100, seeded(1))
    torch.manual_seed(123)
    assert torch.equal(sample_surface(vertices, faces, 100, seeded(1)), one)
    assert not torch.equal(sample_surface(vertices, faces, 100, seeded(2)), one)
    assert one.dtype == torch.float32


def test_a_face_without_area_is_never_drawn_even_last() -> None:
    vertices, faces = box()
    samples = sample_surface(vertices, faces, 5000, seeded())
    assert bool(torch.isfinite(samples).all())
    largest = torch.rand(5000, 3, dtype=torch.float64, generator=seeded())[:, 0].argmax()
    assert float(samples[largest, 3:].abs().max()) == 1.0  # a side's normal, not that of (3, 3, 3)


@pytest.mark.parametrize(
    ("vertices", "faces", "count", "message"),
    [
        (torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), 5, "without area"),
        (torch.eye(3), torch.tensor([[0, 1, 3]]), 5, "0 to 3, and there are 3"),
        (torch.eye(3), torch.tensor([[-1, 1, 2]]), 5, "-1 to 2"),
        (torch.eye(3) / 0, torch.tensor([[0, 1, 2]]), 5, "3 of 3 vertices"),
        (torch.eye(3), torch.tensor([[0, 1, 2]]), 0, "0 samples"),
        (torch.eye(3), torch.zeros(0, 3, dtype=torch.long), 5, r"\(0, 3\)"),
        (torch.zeros(3, 2), torch.tensor([[0, 1, 2]]), 5, r"\(3, 2\)"),
    ],
)
def test_a_mesh_that_cannot_be_sampled_is_refused(vertices: Tensor, faces: Tensor, count: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sample_surface(vertices, faces, count, seeded())


def test_normalised_samples_fill_the_cube_upright() -> None:
    """A z-up rig: the cube's lowest corner in the sequence's axes is (x, z, -y)."""
    low, high = [-0.25, 0.3, -0.2], [0.25, -0.2, 0.3]
    samples = torch.tensor([[*low, 0.0, 0.0, 1.0], [*high, 0.0, -1.0, 0.0], [0.0, 0.05, 0.3, 1.0, 0.0, 0.0]])
    found = normalised(samples, TOKENIZER)
    expected = [[-1.0, -1, -1, 0, 1, 0], [1, 1, 1, 0, 0, 1], [0, 1, 0, 1, 0, 0]]
    assert torch.allclose(found, torch.tensor(expected), atol=1e-6)
    assert found.dtype == torch.float32


def test_fourier_bands_start_at_the_cubes_side_and_halve() -> None:
    values = torch.tensor([[-1.0, 0.25, 1.0]])
    found = fourier(values, 8).reshape(17, 3)
    assert torch.equal(found[0], values[0])
    for band in range(8):
        angles = torch.pi * 2**band * values[0]
        assert torch.allclose(found[1 + band], angles.sin(), atol=1e-4)
        assert torch.allclose(found[9 + band], angles.cos(), atol=1e-4)


SMALL_POINTS = PointTokens(samples=50, latents=7, width=24, depth=2, heads=3, bands=4)


@pytest.fixture(scope="module")
def perceiver() -> SurfaceEncoder:
    torch.manual_seed(0)
    return SurfaceEncoder(SMALL_POINTS)


def random_samples(batch: int, count: int) -> Tensor:
    places = torch.rand(batch, count, 3, generator=seeded()) * 2 - 1
    return torch.cat([places, nn.functional.normalize(torch.randn(batch, count, 3, generator=seeded(1)), dim=-1)], -1)


def test_the_perceiver_gives_one_token_more_than_its_latents(perceiver: SurfaceEncoder) -> None:
    assert perceiver(random_samples(3, 50)).shape == (3, 8, 24)


def parameters(config: PointTokens) -> int:
    width = config.width
    attention, feed = 4 * (width**2 + width), 8 * width**2 + 5 * width
    block = attention + feed + 4 * width  # with the two norms
    embed = (3 * (2 * config.bands + 1) + 3 + 1) * width
    return (1 + config.latents) * width + embed + (1 + config.depth) * block + 4 * width


def test_the_papers_perceiver_has_64_million_parameters(perceiver: SurfaceEncoder) -> None:
    """By a formula that counts a small one, since the large one takes seconds to draw."""
    assert sum(p.numel() for p in perceiver.parameters()) == parameters(SMALL_POINTS)
    assert parameters(PointTokens()) == 64_033_536


def test_the_perceiver_does_not_see_the_order_of_samples_or_the_rest_of_a_batch(perceiver: SurfaceEncoder) -> None:
    samples = random_samples(3, 50)
    with torch.no_grad():
        found = perceiver(samples)
        mixed = perceiver(samples[:, torch.randperm(50, generator=seeded())])
        alone = torch.cat([perceiver(one[None]) for one in samples])
    assert torch.allclose(found, mixed, atol=1e-5)
    assert torch.allclose(found, alone, atol=1e-5)


def test_the_perceiver_sees_positions_and_normals(perceiver: SurfaceEncoder) -> None:
    samples = random_samples(1, 50)
    with torch.no_grad():
        found = perceiver(samples)
        for part in (slice(0, 3), slice(3, 6)):
            other = samples.clone()
            other[:, :, part] *= 0.9
            assert float((perceiver(other) - found).abs().max()) > 1e-3


def test_a_gradient_reaches_every_parameter_of_the_perceiver(perceiver: SurfaceEncoder) -> None:
    perceiver.zero_grad()
    found = perceiver(random_samples(2, 50))
    (found * torch.randn(found.shape, generator=seeded(2))).sum().backward()
    for name, parameter in perceiver.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def small_encoder(size: int = 32) -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(Grid(nn.Conv2d(3, 5, 8, stride=8)), size, ((size // 8) ** 2, 5), "cpu", "small")


def test_a_picture_is_padded_with_white_on_both_sides_of_its_shorter_side() -> None:
    black = torch.zeros(1, 40, 20, 3, dtype=torch.uint8)
    found = prepared(black, 40)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    values = found[0].permute(1, 2, 0) * deviation + mean
    assert torch.allclose(values[:, 10:30], torch.zeros(40, 20, 3), atol=1e-5)
    assert torch.allclose(values[:, :10], torch.ones(40, 10, 3), atol=1e-5)
    assert torch.allclose(values[:, 30:], torch.ones(40, 10, 3), atol=1e-5)


def test_a_picture_is_resized_with_antialiasing() -> None:
    """A chessboard of single pixels becomes grey, whatever pixel a sampling would have hit."""
    board = ((torch.arange(256)[:, None] + torch.arange(256)) % 2 * 255).to(torch.uint8)
    found = prepared(board[None, :, :, None].expand(-1, -1, -1, 3), 64)[0, 0] * 0.229 + 0.485
    assert float((found[4:-4, 4:-4] - 0.5).abs().max()) < 0.02


def test_tokens_do_not_depend_on_the_batch_and_can_be_trained_on() -> None:
    encoder = small_encoder()
    images = torch.randint(0, 256, (3, 50, 70, 3), dtype=torch.uint8, generator=seeded())
    found = encoder.tokens(images)
    assert found.shape == (3, encoder.count, encoder.width) == (3, 16, 5)
    assert torch.equal(found, torch.cat([encoder.tokens(one[None]) for one in images]))
    layer = nn.Linear(5, 2)
    layer(found).sum().backward()
    assert layer.weight.grad is not None
    assert not any(p.requires_grad for p in encoder.network.parameters())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 64, 64, 3), "float32"),
        (torch.zeros(64, 64, 3, dtype=torch.uint8), r"\(64, 64, 3\)"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), r"\(1, 3, 64, 64\)"),
        (torch.zeros(0, 64, 64, 3, dtype=torch.uint8), r"\(0,"),
        (torch.zeros(1, 64, 20, 3, dtype=torch.uint8), "20 x 64 pixels"),
    ],
)
def test_what_is_no_picture_has_no_tokens(images: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        small_encoder().tokens(images)


def test_vgg_tokens_are_relu5_3_row_by_row() -> None:
    """Beside the convolutions of the published file, one after the other."""
    weights = load_file(assets.pull("lpips-vgg16"))
    encoder = load_encoder(ImageTokens(encoder="vgg16", size=64))
    image = torch.from_numpy(np.array(Image.fromarray(astronaut()).resize((64, 64))))[None]
    found = encoder.tokens(image)
    x = prepared(image, 64)
    for layer in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28):
        if layer in (5, 10, 17, 24):
            x = max_pool2d(x, 2)
        x = conv2d(x, weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"], padding=1).relu()
    assert found.shape == (1, encoder.count, encoder.width) == (1, 16, 512)
    assert torch.allclose(found[0, 6], x[0, :, 1, 2], atol=1e-4)
    assert torch.allclose(found[0].T, x[0].flatten(1), atol=1e-4)
    larger = load_encoder(ImageTokens(encoder="vgg16", size=224))
    assert (larger.count, larger.width) == (196, 512)
    assert larger.fingerprint != encoder.fingerprint


def test_weights_of_another_network_are_no_vgg(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(AssetError, match="VGG16"):
        load_encoder(ImageTokens(encoder="vgg16", size=64), weights=tmp_path / "other.pth")


def face_at(left: float, top: float, height: float) -> FaceTrack:
    """Landmarks whose box is 0.8 as wide as it is high."""
    corners = np.array([[left, top, 0], [left + 0.8 * height, top + height, 0]], np.float32)
    return FaceTrack(np.resize(corners, (478, 3)), np.zeros(52, np.float32), np.eye(4, dtype=np.float32))


def test_a_portrait_is_framed_about_the_face_without_resampling() -> None:
    image = np.random.default_rng(0).integers(0, 255, (400, 500, 3), dtype=np.uint8)
    found = framed(image, face_at(200, 150, 90))
    side = 200
    left, top = 236 - FACE_CENTRE[0] * side, 195 - FACE_CENTRE[1] * side
    assert round(90 / FACE_SHARE) == side
    assert np.array_equal(found, image[round(top) :, round(left) :][:side, :side])


def test_beyond_the_picture_is_white() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    found = framed(image, face_at(10, 5, 90))  # 46, 50 is the middle: 54 columns left of it are missing
    assert found.shape == (200, 200, 3)
    assert (found == 255).all(-1).sum() == 200 * 200 - 100 * 100
    assert not found[64:164, 54:154].any()


def test_a_tiny_face_is_refused_with_its_size() -> None:
    with pytest.raises(DataError, match="10 pixels high"):
        framed(np.zeros((400, 400, 3), np.uint8), face_at(100, 100, 10))


def test_a_portrait_becomes_tokens_and_samples_of_its_tracked_head() -> None:
    assets.pull("face-landmarker")
    found = portrait_condition(astronaut(), CONFIG, TOKENIZER, small_encoder(), seed=3)
    assert found.image_tokens.shape == (16, 5)
    assert found.samples.shape == (300, 6)
    assert found.vertices.shape == (4538, 3)
    assert found.notes == ()
    assert float(found.samples[:, :3].abs().max()) < 1  # the head is in its cube
    high = np.ptp(found.vertices.numpy(), axis=0)[2]
    assert 0.2 < high < 0.35
    same = portrait_condition(astronaut(), CONFIG, TOKENIZER, small_encoder(), seed=3)
    other = portrait_condition(astronaut(), CONFIG, TOKENIZER, small_encoder(), seed=4)
    assert torch.equal(same.samples, found.samples)
    assert torch.equal(same.image_tokens, found.image_tokens)
    assert torch.equal(other.vertices, found.vertices)
    assert not torch.equal(other.samples, found.samples)
    by_mesh = mesh_condition(
        found.image, found.vertices, conditioning.face_model().rig.faces, CONFIG, TOKENIZER, small_encoder(), seed=3
    )
    assert torch.equal(by_mesh.samples, found.samples)
    assert torch.equal(by_mesh.image_tokens, found.image_tokens)


def test_a_users_portrait_is_tracked_as_the_training_sets_are() -> None:
    assets.pull("face-landmarker")
    landmarker = FaceLandmarker()
    ours = tracked(astronaut(), landmarker=landmarker)
    theirs = track(astronaut(), None, landmarker)
    landmarker.close()
    assert not isinstance(theirs, str)
    assert np.array_equal(ours.image, theirs[0])
    assert torch.equal(ours.vertices, theirs[1])


def test_a_framed_portrait_is_framed_already() -> None:
    """Landmarks found in the crop are those of the picture, nearly: framing it again leaves its size."""
    assets.pull("face-landmarker")
    once = tracked(astronaut()).image
    again = tracked(once).image
    assert abs(len(again) - len(once)) < 0.06 * len(once)


def test_of_two_faces_the_largest_is_taken_and_that_is_said() -> None:
    assets.pull("face-landmarker")
    large = tracked(astronaut()).image
    beside = np.full((len(large), 180, 3), 255, np.uint8)
    beside[:180] = np.asarray(Image.fromarray(large).resize((180, 180)))
    found = tracked(np.concatenate([beside, large], axis=1))
    assert len(found.notes) == 1
    assert "2 faces" in found.notes[0]
    alone = tracked(astronaut())
    assert abs(len(found.image) - len(alone.image)) < 8
    assert float((found.vertices - alone.vertices).norm(dim=1).max()) < 0.02


def no_face() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)


def test_a_picture_without_a_face_says_what_to_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    assets.pull("face-landmarker")
    monkeypatch.setattr(conditioning, "binding_rig", lambda config: pytest.fail("the rig takes seconds"))
    with pytest.raises(DataError, match=r"no face found in the portrait .* bring one"):
        portrait_condition(no_face(), CONFIG, TOKENIZER, small_encoder())


def test_a_rig_that_portraits_are_not_tracked_with_is_refused() -> None:
    with pytest.raises(UsageError, match="mesh_condition"):
        portrait_condition(no_face(), Config(), TOKENIZER, small_encoder())


def test_a_fit_preset_of_another_number_of_faces_is_refused() -> None:
    with pytest.raises(UsageError, match="9014 faces, and the model binds to 1199"):
        conditioning.binding_rig(CONFIG.model_copy(update={"faces": 1199}))


def test_a_rig_that_was_not_trained_on_is_refused_though_it_has_as_many_faces() -> None:
    small = conditioning.binding_rig(CONFIG)
    assert conditioning.binding_rig(CONFIG, faces_digest(small.faces.int())) is small
    with pytest.raises(UsageError, match="faces that are not those the model was trained on"):
        conditioning.binding_rig(CONFIG, faces_digest(small.faces.flip(0)))


def test_files_of_every_kind_become_srgb_with_notes(tmp_path: Path) -> None:
    picture = astronaut()[:64, :80]
    grey = picture.mean(-1).round().astype(np.uint8)
    alpha = np.zeros((64, 80, 1), np.uint8)
    alpha[:, :40] = 255
    cut = np.concatenate([picture, alpha], -1)
    Image.fromarray(picture).save(tmp_path / "plain.png")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(cut).save(tmp_path / "cut.png")
    plain, notes = read_portrait(tmp_path / "plain.png")
    assert np.array_equal(plain, picture)
    assert notes == ()
    for source in (tmp_path / "grey.png", grey, grey[..., None]):
        found, notes = read_portrait(source)
        assert np.array_equal(found, np.repeat(grey[..., None], 3, -1))
        assert notes == ("grey-scale to RGB",)
    for source in (tmp_path / "cut.png", cut):
        found, notes = read_portrait(source)
        assert np.array_equal(found[:, :40], picture[:, :40])
        assert (found[:, 40:] == 255).all()
        assert notes == ("transparency composited on white",)


def test_what_the_mask_leaves_out_becomes_white() -> None:
    picture = np.full((64, 80, 3), 100, np.uint8)
    mask = np.zeros((64, 80), np.float32)
    mask[:, :20], mask[:, 20:40] = 1, 0.5
    found, _ = read_portrait(picture, mask)
    assert [int(found[0, x, 0]) for x in (0, 30, 60)] == [100, 178, 255]
    for wrong in (mask.T, mask * 2, mask - 0.1, np.full((64, 80), np.nan)):
        with pytest.raises(DataError, match="mask"):
            read_portrait(picture, wrong)


def test_files_that_are_no_portraits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "whole.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes((tmp_path / "whole.png").read_bytes()[:20_000])
    with pytest.raises(DataError, match="truncated"):
        read_portrait(cut)
    with pytest.raises(DataError, match="does not exist"):
        read_portrait(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((20, 64, 3), np.uint8), "64 x 20 pixels"),
        (np.zeros((64, 64, 3), np.float32), "float32"),
        (np.zeros((64, 64, 2), np.uint8), r"\(64, 64, 2\)"),
        (np.zeros((2, 64, 64, 3), np.uint8), r"\(2, 64, 64, 3\)"),
    ],
)
def test_arrays_that_are_no_portraits_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_portrait(array)


def test_a_face_that_is_not_finite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(face_at(100, 100, 200), arkit=np.full(52, np.nan, np.float32))
    monkeypatch.setattr(conditioning, "_face", lambda image, landmarker: broken)
    with pytest.raises(DataError, match="not finite"):
        tracked(no_face())
