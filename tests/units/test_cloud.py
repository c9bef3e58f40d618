"""The cloud: what it refuses, and its two file forms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

from avatarbench.errors import DataError
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.files import _BASE, OPACITY_LEAST, read_npz, read_ply, write_npz, write_ply


def _cloud(count: int = 50, degree: int | None = None, bound: bool = True) -> Cloud:
    draw = torch.Generator().manual_seed(3)
    shape = (count, 3) if degree is None else (count, (degree + 1) ** 2, 3)
    return Cloud(
        means=torch.randn(count, 3, generator=draw),
        quaternions=torch.nn.functional.normalize(torch.randn(count, 4, generator=draw), dim=-1),
        scales=0.001 + torch.rand(count, 3, generator=draw),
        opacities=0.01 + 0.98 * torch.rand(count, generator=draw),
        colours=torch.rand(shape, generator=draw),
        bindings=torch.randint(0, 9976, (count,), generator=draw) if bound else None,
    )


@pytest.mark.parametrize("degree", [None, 0, 1, 2, 3])
def test_ply_gives_back_what_was_written(tmp_path: Path, degree: int | None) -> None:
    cloud = _cloud(degree=degree)
    write_ply(cloud, tmp_path / "cloud.ply")
    found = read_ply(tmp_path / "cloud.ply")
    assert found.degree == degree
    for name in ("means", "quaternions", "scales", "opacities", "colours"):
        assert torch.allclose(getattr(found, name), getattr(cloud, name), rtol=2e-5, atol=1e-6), name
    assert found.bindings is not None
    assert torch.equal(found.bindings, cloud.bindings)


def test_ply_has_the_properties_that_viewers_read_in_their_order(tmp_path: Path) -> None:
    write_ply(_cloud(degree=3), tmp_path / "cloud.ply")
    names = [p.name for p in PlyData.read(str(tmp_path / "cloud.ply"))["vertex"].properties]
    assert names == [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *(f"f_rest_{i}" for i in range(45)),
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3", "binding"),
    ]


def test_harmonics_stand_channel_by_channel(tmp_path: Path) -> None:
    cloud = _cloud(count=2, degree=1)
    write_ply(cloud, tmp_path / "cloud.ply")
    table = PlyData.read(str(tmp_path / "cloud.ply"))["vertex"].data
    assert table["f_rest_0"][1] == pytest.approx(cloud.colours[1, 1, 0].item())
    assert table["f_rest_1"][1] == pytest.approx(cloud.colours[1, 2, 0].item())
    assert table["f_rest_3"][1] == pytest.approx(cloud.colours[1, 1, 1].item())


def test_npz_is_exact(tmp_path: Path) -> None:
    cloud = _cloud(degree=2)
    write_npz(cloud, tmp_path / "cloud.npz")
    found = read_npz(tmp_path / "cloud.npz")
    for name, value in vars(cloud).items():
        assert torch.equal(getattr(found, name), value), name


def test_an_npz_is_float32_and_other_types_in_it_are_refused_by_name(tmp_path: Path) -> None:
    write_npz(_cloud().to(torch.float64), tmp_path / "cloud.npz")
    assert {v.dtype for n, v in vars(read_npz(tmp_path / "cloud.npz")).items() if n != "bindings"} == {torch.float32}
    arrays = {name: value.numpy() for name, value in vars(_cloud()).items()}
    np.savez(tmp_path / "other.npz", **(arrays | {"quaternions": np.ones((50, 4), int)}))
    with pytest.raises(DataError, match=r"other\.npz: a cloud's 'quaternions' are torch.int64"):
        read_npz(tmp_path / "other.npz")


def test_an_unbound_cloud_stays_unbound(tmp_path: Path) -> None:
    for write, read, name in ((write_ply, read_ply, "a.ply"), (write_npz, read_npz, "a.npz")):
        write(_cloud(bound=False), tmp_path / name)
        assert read(tmp_path / name).bindings is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"means": torch.full((50, 3), float("nan"))}, "'means' are NaN or infinite for 50"),
        ({"scales": torch.zeros(50, 3)}, "'scales' are zero or negative"),
        ({"opacities": torch.full((50,), 1.5)}, "'opacities' are outside 0 to 1"),
        ({"quaternions": torch.zeros(50, 4)}, "'quaternions' are zero"),
        ({"colours": torch.zeros(50, 5, 3)}, "expected (50, 3) or"),
        ({"bindings": torch.zeros(49, dtype=torch.int64)}, "expected (50,)"),
        ({"bindings": torch.zeros(50)}, "face indices"),
        ({"bindings": torch.zeros(50, dtype=torch.bool)}, "face indices, int64; these are torch.bool"),
        ({"bindings": torch.zeros(50, dtype=torch.uint64)}, "face indices, int64; these are torch.uint64"),
        ({"quaternions": torch.ones(50, 4, dtype=torch.int64)}, "'quaternions' are torch.int64"),
        ({"colours": torch.zeros(50, 3, dtype=torch.uint8)}, "'colours' are torch.uint8"),
        ({"means": torch.zeros(50, 3, dtype=torch.complex64)}, "'means' are torch.complex64"),
        ({"scales": torch.ones(50, 3, dtype=torch.float64)}, "'scales' are torch.float64, its 'means' torch.float32"),
        ({"means": torch.zeros(())}, "'means' of ()"),
        ({"colours": torch.zeros(())}, "'colours' of ()"),
    ],
)
def test_a_cloud_that_cannot_be_rendered_is_refused(change: dict[str, torch.Tensor], says: str, tmp_path: Path) -> None:
    wrong = replace(_cloud(), **change)
    with pytest.raises(DataError, match=says.replace("(", r"\(").replace(")", r"\)")):
        wrong.check()
    with pytest.raises(DataError):
        write_ply(wrong, tmp_path / "cloud.ply")
    assert list(tmp_path.iterdir()) == []


def test_bindings_outside_the_rig_are_refused() -> None:
    with pytest.raises(DataError, match="'bindings' are outside 0 to 99"):
        _cloud().check(faces=100)


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    write_ply(_cloud(), tmp_path / "a.ply")
    data = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "cut.ply").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.ply").write_text("hello")
    table = np.zeros(3, dtype=[("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    from plyfile import PlyElement

    PlyData([PlyElement.describe(table, "vertex")]).write(str(tmp_path / "points.ply"))
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    for name, read, says in (
        ("cut.ply", read_ply, "cannot be read"),
        ("text.ply", read_ply, "cannot be read"),
        ("points.ply", read_ply, "not of Gaussians: it has no opacity"),
        ("none.ply", read_ply, "does not exist"),
        ("bad.npz", read_npz, "cannot be read"),
        ("none.npz", read_npz, "does not exist"),
    ):
        with pytest.raises(DataError, match=says) as found:
            read(tmp_path / name)
        assert name in str(found.value)


def test_a_pickle_in_an_npz_is_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", means=np.array([object()], dtype=object))
    with pytest.raises(DataError, match=r"evil\.npz"):
        read_npz(tmp_path / "evil.npz")


def _ply(path: Path, *lines: str, body: bytes = b"") -> Path:
    path.write_bytes("\n".join(("ply", *lines, "end_header", "")).encode() + body)
    return path


GAUSSIAN_LINES = [f"property float {name}" for name in (*_BASE, "f_dc_0", "f_dc_1", "f_dc_2")]
BINARY = "format binary_little_endian 1.0"


@pytest.mark.parametrize(
    ("lines", "body", "says"),
    [
        pytest.param([BINARY, "element face 1", "property uchar red"], b"1", "without vertices", id="no vertices"),
        pytest.param(
            [BINARY, "element vertex 1", *(f"property float {n}" for n in "xyz"), "element face 1",
             "property list uchar int vertex_indices"],
            bytes(12) + b"\x03" + bytes(12), "not of Gaussians: it has no opacity", id="a mesh",
        ),
        pytest.param(
            ["format ascii 1.0", "element vertex 1", *(f"property float {n}" for n in "xyz"),
             *(f"property uchar {n}" for n in ("red", "green", "blue"))],
            b"0 0 0 255 0 0\n", "no opacity, scale_0", id="a coloured point cloud",
        ),
        pytest.param(
            [BINARY, "element vertex 1", "property list uchar float x"], b"\x01" + bytes(4), "have lists", id="lists"
        ),
        pytest.param([BINARY, "element vertex 1000000000000", *GAUSSIAN_LINES], bytes(56), "cut short", id="trillion"),
        pytest.param(
            ["format ascii 1.0", "element vertex 1000000000000", *GAUSSIAN_LINES], b"0 0\n", "cut short", id="in text"
        ),
        pytest.param(
            [BINARY, "element vertex 1", *GAUSSIAN_LINES, "element other 1000000000000000", "property char a"],
            bytes(100), "cut short", id="a huge other element",
        ),
        pytest.param(
            [BINARY, "element vertex 1", *GAUSSIAN_LINES, "property float f_rest_0"], bytes(60), "1 f_rest", id="f_rest"
        ),
        pytest.param(
            [BINARY, "element vertex 1", *GAUSSIAN_LINES, "property float binding"],
            bytes(60), "bindings of float32", id="bindings that are no indices",
        ),
        pytest.param([BINARY, "element vertex 1", *GAUSSIAN_LINES], bytes(56), "'quaternions' are zero", id="zeros"),
        pytest.param(
            [BINARY, "element vertex 1", *GAUSSIAN_LINES], b"\xff" * 56, "'means' are NaN", id="NaN"
        ),
        *(
            pytest.param([BINARY, element, *GAUSSIAN_LINES], b"", "gives an element no number", id=element)
            for element in ("element vertex -3", "element vertex abc", "element vertex")
        ),
        pytest.param([], b"", "without vertices", id="nothing"),
    ],
)  # fmt: skip
def test_another_programs_ply_is_refused_by_what_it_lacks(
    tmp_path: Path, lines: list[str], body: bytes, says: str
) -> None:
    path = _ply(tmp_path / "other.ply", *lines, body=body)
    with pytest.raises(DataError, match=says) as found:
        read_ply(path)
    assert "other.ply" in str(found.value)


@pytest.mark.parametrize("kind", ["text", "big-endian"])
def test_a_cloud_that_another_program_wrote_is_read(tmp_path: Path, kind: str) -> None:
    cloud = _cloud(degree=1)
    write_ply(cloud, tmp_path / "ours.ply")
    data = PlyData.read(str(tmp_path / "ours.ply"))
    data.text, data.byte_order = kind == "text", "=" if kind == "text" else ">"
    data.write(str(tmp_path / "theirs.ply"))
    found, ours = read_ply(tmp_path / "theirs.ply"), read_ply(tmp_path / "ours.ply")
    for name, value in vars(ours).items():
        assert torch.equal(getattr(found, name), value), name


@pytest.mark.parametrize("count", [0, 1])
def test_no_gaussian_and_one_are_clouds(tmp_path: Path, count: int) -> None:
    for write, read, name in ((write_ply, read_ply, "a.ply"), (write_npz, read_npz, "a.npz")):
        write(_cloud(count, degree=3), tmp_path / name)
        found = read(tmp_path / name)
        assert (len(found), found.degree) == (count, 3)
        assert found.check(9976) is found


def test_opacities_of_zero_and_one_come_back_within_the_layouts_step(tmp_path: Path) -> None:
    cloud = replace(_cloud(2), opacities=torch.tensor([0.0, 1.0]))
    write_ply(cloud, tmp_path / "a.ply")
    assert torch.allclose(read_ply(tmp_path / "a.ply").opacities, cloud.opacities, atol=2 * OPACITY_LEAST)


def test_a_refusal_names_the_first_gaussian_at_fault() -> None:
    cloud = _cloud()
    cloud.scales[7, 1] = float("inf")
    cloud.scales[9, 0] = float("nan")
    with pytest.raises(DataError, match="'scales' are NaN or infinite for 2 Gaussians, the first of them 7"):
        cloud.check()


def test_an_npz_with_other_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(DataError, match=r"other\.npz cannot be read as a cloud"):
        read_npz(tmp_path / "other.npz")
    np.savez(
        tmp_path / "shapes.npz",
        **{name: np.zeros(3, np.float32) for name in vars(_cloud(bound=False)) if name != "bindings"},
    )
    with pytest.raises(DataError, match=r"shapes\.npz: .*'means'"):
        read_npz(tmp_path / "shapes.npz")
