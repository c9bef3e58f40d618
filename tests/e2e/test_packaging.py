"""The wheel installs and runs outside the checkout, and a third party's package registers as ours do."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, Installed


def test_wheel_holds_the_packages_and_no_tests(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = set(wheel.namelist())
    assert {"avatarbench/configs/run.yaml", "avatarbench/methods/face_warp/spec.py", "avatarbench/py.typed"} <= names
    assert "avatarbench/results/baselines/openheads-gate.json" in names
    assert "avatarbench/conformance/templates/isolated/src/PACKAGE/shim.py.template" in names
    assert not [n for n in names if n.startswith(("tests/", "methods/", "protocols/", "configs/"))]


def test_installed_package_is_not_the_checkout(installed: Installed, tmp_path: Path) -> None:
    done = installed.python("-c", "import avatarbench.methods.face_warp as m; print(m.__file__)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(ROOT) not in done.stdout


def test_third_party_method_and_metric_are_listed_with_their_owner(installed: Installed, tmp_path: Path) -> None:
    for kind, name in (("methods", "tint"), ("metrics", "mean-shift")):
        done = installed.cli("list", kind, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert name in done.stdout
        assert "avatarbench-tint" in done.stdout


def test_third_party_method_runs_beside_ours_outside_the_checkout(installed: Installed, tmp_path: Path) -> None:
    done = installed.cli(
        "run", "-m", "tint", "-m", "source-copy", "-p", "clip-self", "--metric", "mean-shift", "--metric", "psnr",
        "--limit", "2", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(next(tmp_path.glob("runs/*/run.json")).read_text())
    shift = {r["method"]: r["value"] for r in record["results"] if r["metric"] == "mean-shift"}
    assert shift["source-copy"] == 0
    assert 8 < shift["tint"] <= 10  # ten levels, less where a pixel was darker than ten


def test_what_a_method_does_to_its_inputs_reaches_nobody_else(installed: Installed, tmp_path: Path) -> None:
    values = []
    for methods in (("-m", "tint", "-m", "face-warp"), ("-m", "face-warp")):
        out = f"runs{len(values)}"
        options = ["+method.tint.faults=[vandal,vandal]"] if "tint" in methods else []
        done = installed.cli(
            "run", *methods, "-p", "clip-self", "--metric", "akd-mediapipe", "--limit", "2", "--out", out, *options,
            cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        rows = samples(next(tmp_path.glob(f"{out}/*")))
        values.append([r["value"] for r in rows if r["method"] == "face-warp"])
    assert values[0] == values[1]


FAULTS = {
    "exit": "SystemExit: 5",
    "flat": "ZeroDivisionError: division by zero",
    "raise": "RuntimeError: the plugin gave up",
    "undefined": "NaN or infinite values",
    "size": "shape (255, 256, 3)",
    "dtype": "dtype int64",
    "range": "outside [0, 1]",
    "list": "list, not a numpy array",
}


def test_faulty_frames_are_nan_with_their_reasons_and_the_run_goes_on(installed: Installed, tmp_path: Path) -> None:
    done = installed.cli(
        "run", "-m", "tint", "-p", "clip-self", "--metric", "mean-shift", "--limit", "10",
        f"+method.tint.faults=[{','.join(FAULTS)}]", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    rows = samples(next(tmp_path.glob("runs/*")))
    assert [r["frame"] for r in rows] == [8 * i for i in range(1, 11)]
    for row, reason in zip(rows, FAULTS.values(), strict=False):
        assert reason in row["reason"]
        assert math.isnan(row["value"])
        assert reason in done.stdout  # the table says why
    assert [r["reason"] for r in rows[len(FAULTS) :]] == [None, None]
    assert "2/10" in done.stdout


def test_set_metrics_compare_methods_over_the_same_frames(installed: Installed, tmp_path: Path) -> None:
    done = installed.cli(
        "run", "-m", "tint", "-m", "oracle", "-p", "clip-self", "--metric", "fd-vgg", "--limit", "20", "--size", "128",
        "+method.tint.faults=[raise]", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    record = json.loads(next(tmp_path.glob("runs/*/run.json")).read_text())
    found = {r["method"]: r for r in record["results"]}
    assert {m: (r["n_valid"], r["n_common"]) for m, r in found.items()} == {"tint": (19, 19), "oracle": (20, 19)}
    assert found["oracle"]["own"] == pytest.approx(0, abs=1e-6)
    assert found["oracle"]["value"] > 1e-3


def test_method_that_builds_nothing_fails_with_its_reason(installed: Installed, tmp_path: Path) -> None:
    done = installed.cli(
        "run", "-m", "tint", "-p", "clip-self", "--metric", "mean-shift", "--limit", "2", "+method.tint.faults=[build]",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    reasons = {r["reason"] for r in samples(next(tmp_path.glob("runs/*")))}
    assert reasons == {"no avatar: RuntimeError: the plugin builds nothing"}


def samples(run: Path) -> list[dict]:
    from avatarbench.run.record import read_samples

    return read_samples(run).to_pylist()


def test_lock_is_hashed_and_names_no_index() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in pin and pin.endswith("\\") for pin in pins)
    assert {"setuptools", "uv", "pip", "torch", "mediapipe"} <= {pin.split("==")[0] for pin in pins}
    assert "://" not in text
    assert "--index" not in text
