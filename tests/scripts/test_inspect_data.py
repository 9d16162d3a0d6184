from pathlib import Path

from conftest import Script
from PIL import Image


def test_a_healthy_source(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    done = script_inside("inspect_data.py", "--data-dir", nyu_folder)
    assert "train: 15 frames of 5 scenes" in done.stdout
    assert "16-bit, 1000 units per metre: 3" in done.stdout
    listed = script_inside("inspect_data.py", "--data-dir", nyu_folder, "--all-scenes").stdout
    assert all(f"office_{scene:04}_out 3" in listed for scene in range(6))
    Image.open(tmp_path / "contact_sheet.png").verify()


def test_problems_end_with_status_2(script_inside: Script, nyu_folder: Path) -> None:
    (nyu_folder / "nyu_data/data/nyu2_test/00001_colors.png").write_bytes(b"no")
    done = script_inside("inspect_data.py", "--data-dir", nyu_folder, status=2)
    assert "00001_colors.png: got 2 bytes that are no image" in done.stdout
    assert "error: 1 problems, named above" in done.stderr
