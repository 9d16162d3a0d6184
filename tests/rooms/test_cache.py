"""numba's cache is named by a hash of all kernel files, and works in folders that cannot be written."""

from pathlib import Path

from src.rooms.kernels import compilation
from src.rooms.kernels.compilation import prepare_cache
from src.rooms.kernels.lamps import occludes


def test_outdated_folders_are_removed_and_unwritable_ones_skipped(tmp_path: Path) -> None:
    sources, cache, blocked = tmp_path / "sources", tmp_path / "cache", tmp_path / "file"
    sources.mkdir()
    blocked.touch()
    found = set()
    for name, text in (("a.py", "x = 1"), ("b.py", "x = 1"), ("a.py", "x = 2")):
        (sources / name).write_text(text)
        folder = prepare_cache(sources, [blocked, cache])
        assert list(cache.iterdir()) == [folder]
        found.add(folder)
    assert len(found) == 3 and prepare_cache(sources, [blocked]) is None


def test_kernels_are_kept_in_the_folder_of_their_sources(tmp_path: Path) -> None:
    folder = prepare_cache(Path(compilation.__file__).parent, [tmp_path])
    assert folder and Path(occludes.stats.cache_path).parent.name == folder.name
