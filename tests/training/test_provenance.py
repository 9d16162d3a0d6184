import subprocess
from pathlib import Path

import pytest

from src.training import provenance


@pytest.fixture(autouse=True)
def first_call() -> None:
    provenance.revision.cache_clear()


def test_the_revision_tells_changed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "one")
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    commit = git("rev-parse", "HEAD")[:12]
    assert provenance.revision() == commit
    (tmp_path / "file").write_text("two")
    assert provenance.revision() == commit
    provenance.revision.cache_clear()
    assert provenance.revision() == f"{commit}+changes"


def test_without_git_the_revision_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.revision() == "unknown"


def test_versions_and_hardware_are_named() -> None:
    facts = provenance.environment()
    assert facts["torch"][0].isdigit()
    assert facts["processor"].endswith("threads")
