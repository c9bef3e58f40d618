"""``avatarbench assets import-flame`` as a user types it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np

from avatarbench.heads.flame import load_flame
from tests.conftest import Cli
from tests.synthetic_flame import flame_arrays, write_2020, write_template


def test_a_users_file_becomes_a_rig_in_the_cache(cli: Cli, tmp_path: Path) -> None:
    arrays = flame_arrays()
    source = write_2020(tmp_path / "generic_model.pkl", arrays)
    write_template(tmp_path / "head_template.obj", arrays["f"].astype(np.int64))
    cache = {"AVATARBENCH_CACHE": str(tmp_path / "cache")}
    done = cli("assets", "import-flame", source, "--template", "head_template.obj", env=cache)
    assert done.returncode == 0, done.stderr
    copy = Path(done.stdout.strip())
    assert copy == tmp_path / "cache" / "flame" / "flame.safetensors"
    rig = load_flame(copy, teeth=True)
    assert (len(rig.faces), len(rig.uv_faces)) == (10_144, 10_144)

    elsewhere = cli("assets", "import-flame", source, "--out", "mine.safetensors", env=cache)
    assert elsewhere.stdout.strip() == "mine.safetensors"
    assert len(load_flame(tmp_path / "mine.safetensors").uvs) == 0


def test_a_hostile_or_wrong_file_is_one_line_and_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> object:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    source = tmp_path / "generic_model.pkl"
    cache = {"AVATARBENCH_CACHE": str(tmp_path / "cache")}
    source.write_bytes(pickle.dumps({"v_template": Hostile()}))
    for content, message in (
        (source.read_bytes(), "system. Nothing of it was run"),
        (pickle.dumps({"v_template": np.zeros((6890, 3))}), "(6890, 3), which is SMPL, and (5023, 3) is expected"),
    ):
        source.write_bytes(content)
        done = cli("assets", "import-flame", source, env=cache)
        assert (done.returncode, done.stdout) == (1, "")
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "cache").exists()
    absent = cli("assets", "import-flame", tmp_path / "absent.pkl", env=cache)
    assert absent.returncode == 1
    assert "absent.pkl does not exist" in absent.stderr
    other = cli("assets", "import-flame", source, "--out", "flame.pkl", env=cache)
    assert "end in .safetensors" in other.stderr
