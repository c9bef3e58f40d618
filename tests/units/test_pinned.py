import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench import registry
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.errors import DataError, UsageError
from avatarbench.run.pinned import altered, main, read_pinned, resolve_default, write_pinned
from tests.units.nersemble_fixture import FRONTAL, pictures, write_split


def test_a_written_manifest_says_who_drives_whom_and_its_hash_follows_the_files(tmp_path: Path) -> None:
    face = pictures(1, size=(32, 32))[0]
    root = write_split(tmp_path / "data", {"501": face, "509": face})
    spec = registry.protocol("openheads-cross-gt")
    path = write_pinned(spec, tmp_path, {"openheads": NersembleDataset(root)})
    assert path == tmp_path / "openheads-cross-gt.json"
    pinned = json.loads(path.read_text())
    assert pinned["manifest"] == resolve_default(spec, {"openheads": NersembleDataset(root)}).digest()
    assert (pinned["pairs"], pinned["sources"], len(pinned["files"])) == (6, 1, 7)
    assert pinned["who_drives_whom"][1] == {
        "source": f"501_PORTRAIT_{FRONTAL}/0",
        "driver": f"509_FREE_{FRONTAL}",
        "frames": [0, 1],
        "target": f"501_FREE-AS-509_{FRONTAL}",
    }
    frame = root / "501" / "sequences" / "FREE-AS-509" / "images" / f"cam_{FRONTAL}" / "frame_00000.webp"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(frame, lossless=True)
    assert pinned["manifest"] != resolve_default(spec, {"openheads": NersembleDataset(root)}).digest()


def test_a_manifest_that_does_not_ship_is_named() -> None:
    spec = replace(registry.protocol("openheads-self"), manifest="avatarbench.protocols:manifests/none.json")
    with pytest.raises(
        DataError, match=r"manifest of 'openheads-self' \(avatarbench\.protocols:manifests/none\.json\)"
    ):
        read_pinned(spec)


def test_data_that_is_not_what_ships_is_found_and_a_folder_of_the_users_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = pictures(1, size=(32, 32))[0]
    root = write_split(tmp_path / "data", {"501": face, "509": face})
    spec = registry.protocol("openheads-cross-gt")
    pinned = json.loads(write_pinned(spec, tmp_path, {"openheads": NersembleDataset(root)}).read_text())
    monkeypatch.setattr("avatarbench.run.pinned.read_pinned", lambda _: pinned)
    assert altered(spec, resolve_default(spec, {"openheads": NersembleDataset(root)}), own=()) == []
    frame = root / "501" / "sequences" / "FREE-AS-509" / "images" / f"cam_{FRONTAL}" / "frame_00000.webp"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(frame, lossless=True)
    manifest = resolve_default(spec, {"openheads": NersembleDataset(root)})
    assert altered(spec, manifest, own=()) == [f"openheads/501_FREE-AS-509_{FRONTAL}"]
    assert altered(spec, manifest, own=("openheads",)) == []


def test_the_command_wants_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the folder"):
        main([])
    with pytest.raises(UsageError, match="name the folder"):
        main([str(tmp_path / "nowhere")])
