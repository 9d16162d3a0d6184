from pathlib import Path

import pytest

from src.conventions import UserError
from src.files import whole_file


def test_a_file_appears_when_its_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.txt"
    with whole_file(path) as unfinished:
        unfinished.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError, UserError])
def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "x.txt"
    path.write_text("earlier")
    with pytest.raises(failure), whole_file(path) as unfinished:
        unfinished.write_text("ha")
        raise failure
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_disk_refuses_costs_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"x\.txt"), whole_file(tmp_path / "file" / "x.txt"):
        pass
    with pytest.raises(UserError, match="No space left"), whole_file(tmp_path / "y.txt"):
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
