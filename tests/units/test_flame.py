"""Reading FLAME's files: what is accepted, what is refused, what a hostile one cannot do; and the teeth."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatarbench.errors import AssetError, DataError
from avatarbench.heads import teeth
from avatarbench.heads.flame import FlameRig, load_flame
from avatarbench.heads.flame_file import import_flame, read_flame
from avatarbench.heads.pickles import array, read_pickle
from avatarbench.heads.rig import rotation_matrix
from tests.synthetic_flame import FACES, VERTICES, flame_arrays, write_2020, write_2023, write_template

KEYS = ("v_template", "f", "shapedirs", "posedirs", "weights")


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    return flame_arrays()


@pytest.fixture(scope="module")
def pickled(tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Any]) -> Path:
    return write_2020(tmp_path_factory.mktemp("flame") / "generic_model.pkl", arrays)


@pytest.fixture(scope="module")
def with_teeth(tmp_path_factory: pytest.TempPathFactory, pickled: Path, arrays: dict[str, Any]) -> FlameRig:
    folder = tmp_path_factory.mktemp("teeth")
    write_template(folder / "head_template.obj", arrays["f"].astype(np.int64))
    copy = import_flame(pickled, folder / "flame.safetensors", folder / "head_template.obj")
    return load_flame(copy, teeth=True)


def test_a_file_of_2020_is_read_without_chumpy_or_the_names_of_old_numpy_and_scipy(
    pickled: Path, arrays: dict[str, Any]
) -> None:
    content = pickled.read_bytes()
    for name in (b"chumpy.ch", b"numpy.core.multiarray", b"scipy.sparse.csc"):
        assert name in content
    assert "chumpy" not in sys.modules
    found = read_flame(pickled)
    for key in KEYS:
        np.testing.assert_allclose(found[key], arrays[key], rtol=1e-6)
    np.testing.assert_allclose(found["J_regressor"], arrays["J_regressor"].toarray(), rtol=1e-6)
    np.testing.assert_array_equal(found["kintree_table"], [[-1, 0, 1, 1, 1], [0, 1, 2, 3, 4]])
    assert {k: (v.dtype, v.flags.c_contiguous) for k, v in found.items()} == {
        k: (np.dtype(np.int64 if k in ("f", "kintree_table") else np.float32), True) for k in found
    }


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_of_every_protocol_order_and_byte_order_come_back(tmp_path: Path, protocol: int) -> None:
    given = {
        "rows": np.arange(6.0).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype=np.uint16).reshape(2, 3)),
        "big": np.arange(6, dtype=">f4"),
        "none": np.zeros((0, 3), np.float32),
        "single": np.array(4.5),
        "flags": np.array([True, False]),
    }
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps(given, protocol=protocol))
    found = {key: array(value) for key, value in read_pickle(path).items()}
    for key, value in given.items():
        np.testing.assert_array_equal(found[key], value)
        assert found[key].shape == value.shape


def test_the_imported_copy_an_npz_and_the_pickle_are_one_rig(
    tmp_path: Path, pickled: Path, arrays: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATARBENCH_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match="import-flame"):
        load_flame()
    import_flame(pickled)
    rigs = [load_flame(), load_flame(pickled)]
    np.savez(tmp_path / "flame.npz", **read_flame(pickled))
    rigs.append(load_flame(tmp_path / "flame.npz"))
    for rig in rigs[1:]:
        for name, buffer in rigs[0].named_buffers():
            torch.testing.assert_close(getattr(rig, name), buffer, rtol=0, atol=0)
    rig = rigs[0]
    assert (rig.name, len(rig.shape_names), len(rig.expression_names)) == ("flame", 300, 100)
    assert (rig.joint_names, rig.uvs.shape) == (("root", "neck", "jaw", "eye.L", "eye.R"), (0, 2))
    torch.testing.assert_close(rig.joints, torch.from_numpy(arrays["J"]).float(), rtol=0, atol=1e-7)


def test_the_templates_uvs_follow_the_models_own_faces_and_corners(tmp_path: Path, pickled: Path) -> None:
    faces = read_flame(pickled)["f"]
    expected = write_template(tmp_path / "head_template.obj", faces)
    copy = import_flame(pickled, tmp_path / "flame.safetensors", tmp_path / "head_template.obj")
    rig = load_flame(copy)
    np.testing.assert_allclose(rig.uvs[rig.uv_faces].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "content", ["v 0 0 0\nf 1 2 3", "v 0 0\nv 0 0 0", "v a b c", "v 0 0 0\nf 1 1 1 1", "v 0 0 0\nf 1 1 1"]
)
def test_a_damaged_or_other_template_writes_nothing(tmp_path: Path, pickled: Path, content: str) -> None:
    template, out = tmp_path / "head_template.obj", tmp_path / "flame.safetensors"
    template.write_text(content)
    with pytest.raises(DataError, match="head_template"):
        import_flame(pickled, out, template)
    assert list(tmp_path.iterdir()) == [template]


def test_a_template_of_as_many_other_triangles_is_refused(tmp_path: Path, pickled: Path) -> None:
    write_template(tmp_path / "head_template.obj", np.tile([0, 1, 2], (FACES, 1)))
    with pytest.raises(DataError, match="other triangles"):
        import_flame(pickled, tmp_path / "flame.safetensors", tmp_path / "head_template.obj")


def smpl(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "v_template": np.zeros((6890, 3))}


def few_shapes(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "shapedirs": np.zeros((VERTICES, 3, 20))}


def other_faces(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "f": arrays["f"][:-6]}


def other_tree(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "kintree_table": np.array([[2**32 - 1, 0, 1, 2, 3], [0, 1, 2, 3, 4]], np.uint32)}


def float_faces(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "f": arrays["f"].astype(float)}


def objects(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "weights": np.array([[1, "a"]] * VERTICES, object)}


def no_weights(arrays: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arrays.items() if key != "weights"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (smpl, r"'v_template' is \(6890, 3\), which is SMPL, and \(5023, 3\) is expected"),
        (few_shapes, r"'shapedirs' is \(5023, 3, 20\), and \(5023, 3, 400\) is expected"),
        (other_faces, r"'f' is \(9970, 3\), and \(9976, 3\) is expected"),
        (other_tree, r"parents are \(-1, 0, 1, 2, 3\), not \(-1, 0, 1, 1, 1\)"),
        (float_faces, "'f' holds float64, not integers"),
        (objects, "'weights' cannot be read: its array holds Python objects"),
        (no_weights, "lacks 'weights', and holds J, J_regressor, bs_style"),
    ],
)
def test_another_model_is_refused_with_what_was_found_and_expected(
    tmp_path: Path, arrays: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    changed = change(arrays)
    path = write_2023(tmp_path / "model.pkl", changed)
    with pytest.raises(DataError, match=message):
        import_flame(path, tmp_path / "flame.safetensors")
    assert list(tmp_path.iterdir()) == [path]


def test_an_npz_of_wrong_shapes_or_objects_or_cut_off_is_refused(tmp_path: Path, pickled: Path) -> None:
    good = read_flame(pickled)
    path = tmp_path / "flame.npz"
    np.savez(path, **{**good, "posedirs": good["posedirs"][..., :27]})
    with pytest.raises(DataError, match=r"'posedirs' is \(5023, 3, 27\), and \(5023, 3, 36\)"):
        read_flame(path)
    np.savez(path, **{**good, "J_regressor": np.array(["sparse", None], object)})
    with pytest.raises(DataError, match="allow_pickle"):
        read_flame(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        read_flame(path)
    with pytest.raises(DataError, match="does not exist"):
        read_flame(tmp_path / "absent.pkl")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02}q\x00.", pickle.dumps([1, 2]), b"\x80\x04\x95\xff"])
def test_a_file_that_is_no_model_is_an_error_for_people(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"model\.pkl"):
        read_flame(path)


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def named(module: str, name: str, *arguments: Any) -> bytes:
    """The opcodes of a call of ``module.name`` as protocol 4 has it, dots in the name included."""
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    return b"\x80\x04" + words + b"\x93" + pickle.dumps(arguments, protocol=2)[2:-1] + b"R."


def hostile(ran: str) -> dict[str, bytes]:
    """Pickles each of which makes the file ``ran`` when it is read by an unpickler that trusts it."""
    import os

    touch, code = f"touch {ran}", f"open({ran!r}, 'w').close()"
    numpy_make = np.empty(0).__reduce__()[0]
    within = np.empty(1, object)
    within[0] = Call(os.system, touch)
    chumpy = b"\x80\x02cchumpy.ch\nCh\n)\x81}X\x01\x00\x00\x00x" + pickle.dumps(within, protocol=2)[2:-1] + b"sb."
    return {
        "os.system": pickle.dumps({"v_template": Call(os.system, touch)}),
        "os.system, protocol 0": pickle.dumps(Call(os.system, touch), protocol=0),
        "eval": pickle.dumps({"f": [Call(eval, code)]}),
        "exec": named("builtins", "exec", code),
        "__builtin__": f"c__builtin__\neval\n(S{code!r}\ntR.".encode(),
        "Popen": pickle.dumps(Call(subprocess.Popen, ["touch", ran])),
        "a dotted name": named("numpy", "f2py.os.system", touch),
        "a dotted name of an allowed module": named("numpy", "ndarray.__class__", "x", (), {}),
        "numpy's own exec": named("numpy.testing._private.utils", "runstring", code, {}),
        "numpy makes another class": pickle.dumps(Call(numpy_make, subprocess.Popen, (0,), b"b")),
        "an array of objects": pickle.dumps({"v_template": within}, protocol=2),
        "within chumpy": chumpy,
        "instance opcode": f"(S{touch!r}\nios\nsystem\n.".encode(),
        "object opcode": f"(cos\nsystem\nS{touch!r}\no.".encode(),
        "getattr": named("builtins", "getattr", "x", "__class__"),
        "copyreg": b"ccopy_reg\n_reconstructor\n(csubprocess\nPopen\nc__builtin__\nobject\nNtR.",
        "codecs": named("_codecs", "lookup", "latin1"),
        "another codec": named("_codecs", "encode", "x", "rot13"),
        "scipy's other names": named("scipy.sparse", "sputils.np.load", ran),
        "a class is changed": b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93N}\x8c\x01xK\x01s\x86b.",
    }


@pytest.mark.parametrize("name", sorted(hostile("x")))
def test_a_hostile_pickle_is_refused_and_does_not_execute(tmp_path: Path, name: str) -> None:
    ran = tmp_path / "ran"
    path = tmp_path / "model.pkl"
    path.write_bytes(hostile(str(ran))[name])
    with pytest.raises(DataError):
        read_flame(path)
    assert not ran.exists()


def test_the_hostile_pickles_of_this_test_do_execute_elsewhere(tmp_path: Path) -> None:
    for name in ("os.system", "eval", "__builtin__", "an array of objects", "instance opcode", "object opcode"):
        ran = tmp_path / name.replace(" ", "-")
        pickle.loads(hostile(str(ran))[name])
        assert ran.exists(), name


def test_reading_a_pickle_leaves_nothing_for_the_next(tmp_path: Path, pickled: Path) -> None:
    path = tmp_path / "model.pkl"
    for content in hostile(str(tmp_path / "ran")).values():
        path.write_bytes(content)
        with pytest.raises(DataError):
            read_flame(path)
    assert len(read_flame(pickled)["v_template"]) == VERTICES


@pytest.mark.parametrize("depth", ["itself", "nothing"])
def test_a_chumpy_value_without_an_array_is_refused(tmp_path: Path, depth: str) -> None:
    inner = b"q\x01X\x01\x00\x00\x00x" + (b"h\x00" if depth == "itself" else b"N") + b"s"
    (tmp_path / "model.pkl").write_bytes(b"\x80\x02}X\x01\x00\x00\x00acchumpy.ch\nCh\n)\x81q\x00}" + inner + b"bs.")
    value = read_pickle(tmp_path / "model.pkl")["a"]
    with pytest.raises(ValueError, match="not an array"):
        array(value)


def test_a_sparse_matrix_that_points_outside_itself_is_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    broken = arrays["J_regressor"].copy()
    broken.indices = broken.indices.copy()
    broken.indices[3] = 70
    path = write_2023(tmp_path / "model.pkl", {**arrays, "J_regressor": broken})
    with pytest.raises(DataError, match="'J_regressor' cannot be read: its sparse matrix is damaged"):
        read_flame(path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("indices", np.array(3)),
        ("indptr", np.array(3)),
        ("data", np.array(3.0)),
        ("indptr", np.arange(6.0)),
        ("indices", np.zeros(200)),
    ],
)
def test_a_sparse_matrix_whose_parts_are_no_rows_of_integers_is_refused(
    tmp_path: Path, arrays: dict[str, Any], part: str, value: np.ndarray
) -> None:
    broken = arrays["J_regressor"].copy()
    setattr(broken, part, value)
    path = write_2023(tmp_path / "model.pkl", {**arrays, "J_regressor": broken})
    with pytest.raises(DataError, match="'J_regressor' cannot be read: its sparse matrix is damaged"):
        read_flame(path)


def changed(array: np.ndarray, value: float) -> np.ndarray:
    found = array.copy()
    found[5, 1] = value
    return found


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("v_template", lambda a: changed(a, np.nan), "'template' holds NaN"),
        ("shapedirs", lambda a: changed(a, np.inf), "'shape_directions' holds NaN"),
        ("f", lambda a: changed(a, VERTICES), f"'faces' names index {VERTICES}"),
        ("weights", lambda a: 3 * a, "'skinning' has rows that do not sum to one"),
        ("vt", lambda a: np.zeros((7, 3), np.float32), r"'vt' is \(7, 3\)"),
        ("vt", lambda a: np.array(1.0), r"'vt' is \(\)"),
        ("ft", lambda a: a[:-1], r"'ft' is \(9975, 3\)"),
        ("ft", lambda a: a.astype(np.float32), "'ft' is .* of float32"),
        ("ft", lambda a: a + 7, "'uv_faces' names index 7"),
    ],
)
def test_content_that_no_rig_can_be_made_of_leaves_the_good_copy(
    tmp_path: Path, pickled: Path, key: str, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    copy = tmp_path / "flame.safetensors"
    copy.write_bytes(b"a good copy")
    good = {**read_flame(pickled), "vt": np.zeros((7, 2), np.float32), "ft": np.zeros((FACES, 3), np.int64)}
    path = tmp_path / "model.npz"
    np.savez(path, **{**good, key: change(good[key])})
    with pytest.raises(DataError, match=rf"model\.npz: (the rig's )?{message}"):
        import_flame(path, copy)
    assert copy.read_bytes() == b"a good copy"


def test_teeth_have_the_counts_of_the_paper_and_stand_behind_the_lips(with_teeth: FlameRig) -> None:
    rig = with_teeth
    assert (len(rig.faces), len(rig.template)) == (10_144, VERTICES + 120)
    own = rig.faces[FACES:]
    assert own.unique().tolist() == list(range(VERTICES, VERTICES + 120))
    upper, lower = own[:84].unique(), own[84:].unique()
    assert not set(upper.tolist()) & set(lower.tolist())
    lips = rig.template[[*teeth.UPPER_LIP, *teeth.LOWER_LIP]]
    both = rig.template[VERTICES:]
    columns = lips[:15, 2] + lips[15:, 2]
    assert (both.view(8, 15, 3)[..., 2] < columns / 2).all()
    assert rig.template[upper][:, 1].min() > rig.template[lower][:, 1].max()
    assert rig.uvs[rig.uv_faces].shape == (10_144, 3, 2)
    assert 0 <= rig.uvs.min() <= rig.uvs.max() <= 1


def test_teeth_are_closed_at_the_edge_and_wound_outward(with_teeth: FlameRig) -> None:
    corners = with_teeth.template[with_teeth.faces[FACES:]]
    flat = teeth.faces()
    edges = {tuple(edge) for face in flat.tolist() for edge in zip(face, face[1:] + face[:1], strict=True)}
    assert len(edges) == 3 * 168, "no edge is run through twice in one direction"
    open_ = [edge for edge in edges if edge[::-1] not in edges]
    assert len(open_) == 2 * (2 * 14 + 2 * 3), "only roots and ends are open"
    rows = {"front": 0, "back": 28, "edge": 56}
    grid = np.stack([np.tile(np.linspace(1, -1, 15), 8), np.repeat([2, -2, 0.1, -0.1, 2, 0.1, -2, -0.1], 15)], 1)
    depth = np.repeat([0, 0, 0, 0, -1, -1, -1, -1], 15)
    places = np.concatenate([grid, depth[:, None]], 1)[flat]
    normal = np.cross(places[:, 1] - places[:, 0], places[:, 2] - places[:, 0])
    for jaw, down in ((0, -1), (84, 1)):
        assert (normal[jaw + rows["front"] : jaw + 28, 2] > 0).all()
        assert (normal[jaw + rows["back"] : jaw + 56, 2] < 0).all()
        assert (normal[jaw + rows["edge"] : jaw + 84, 1] * down > 0).all()
    assert torch.isfinite(corners).all()


def test_upper_teeth_follow_the_neck_and_lower_teeth_the_jaw_rigidly(with_teeth: FlameRig) -> None:
    rig = with_teeth
    draw = torch.Generator().manual_seed(3)
    shape, expression = torch.randn(2, 300, generator=draw), torch.randn(2, 100, generator=draw)
    turned = rotation_matrix(torch.randn(2, 5, 3, generator=draw) * 0.3)
    still = rig.rest(shape, torch.zeros(2, 0))[0]
    posed = rig(shape, expression, turned)
    for faces, joint in ((rig.faces[FACES : FACES + 84], 1), (rig.faces[FACES + 84 :], 2)):
        own = faces.unique()
        assert (rig.skinning[own] == torch.eye(5)[joint]).all()
        matrix = posed.transforms[:, joint]
        expected = still[:, own] @ matrix[:, :3, :3].mT + matrix[:, None, :3, 3]
        torch.testing.assert_close(posed.vertices[:, own], expected, rtol=0, atol=1e-6)
    lips = rig.shape_directions[list(teeth.UPPER_LIP)] + rig.shape_directions[list(teeth.LOWER_LIP)]
    torch.testing.assert_close(rig.shape_directions[VERTICES:].view(8, 15, 3, 300)[5], lips / 2)


def test_teeth_change_nothing_else(with_teeth: FlameRig, pickled: Path) -> None:
    plain = load_flame(pickled)
    draw = torch.Generator().manual_seed(4)
    shape, expression = torch.randn(1, 300, generator=draw), torch.randn(1, 100, generator=draw)
    turned = rotation_matrix(torch.randn(1, 5, 3, generator=draw) * 0.3)
    torch.testing.assert_close(
        with_teeth(shape, expression, turned).vertices[:, :VERTICES], plain(shape, expression, turned).vertices
    )
    torch.testing.assert_close(with_teeth.faces[:FACES], plain.faces)


def test_static_offsets_move_the_joints_as_in_vhap(with_teeth: FlameRig) -> None:
    nothing = torch.zeros(1, 0)
    offsets = torch.zeros(VERTICES + 120, 3)
    offsets[:VERTICES] = torch.tensor([0.01, -0.02, 0.03])
    before, after = with_teeth.rest(nothing, nothing)[1], with_teeth.rest(nothing, nothing, offsets)[1]
    torch.testing.assert_close(after - before, torch.tensor([[0.01, -0.02, 0.03]]).expand(1, 5, 3), rtol=0, atol=1e-6)
