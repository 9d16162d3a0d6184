"""The map in src/__init__.py is true: wings do not import one another, and nothing below scripts imports them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WINGS = {"network", "data", "training", "viewing"}
BELOW_ALL = ("choices", "conventions", "files")
FILES = sorted((ROOT / "src").rglob("*.py"))
SCRIPTS = {path.stem for path in (ROOT / "scripts").glob("*.py")}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    names = imported(path)
    wing = path.relative_to(ROOT / "src").parts[0].removesuffix(".py")
    above = {
        name
        for name in names
        if name.split(".")[0]
        in {"scripts", "tests", "evaluate", "_root", "_parsing", "_options", "_network", "_resume"}
    }
    aside = {name for name in names if name.startswith("src.") and name.split(".")[1] not in {wing, *BELOW_ALL}}
    assert not above | aside


def test_each_module_has_a_test_of_its_name() -> None:
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    assert {path.stem for path in FILES if path.stem != "__init__"} <= tested


def test_the_floors_are_all_there() -> None:
    assert {path.parent.name for path in FILES} == WINGS | {"src"}
