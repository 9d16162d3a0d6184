"""The map in src/__init__.py is true: imports go strictly downward, and packages of one layer do not meet."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = (
    {"cli", "benchmarks"},
    {"estimator"},
    {"network", "rooms", "data", "training", "scoring", "viewing"},
    {"conventions", "choices", "files", "ssim"},
)
FILES = sorted((ROOT / "src").rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES[1:], ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    package = path.relative_to(ROOT / "src").parts[0].removesuffix(".py")
    (layer,) = (number for number, names in enumerate(LAYERS) if package in names)
    below = {package}.union(*LAYERS[layer + 1 :])
    if layer == len(LAYERS) - 1:
        below |= LAYERS[layer]
    names = imported(path)
    assert not {name for name in names if name.startswith("src.") and name.split(".")[1] not in below}
    scripts = {script.stem for script in (ROOT / "scripts").glob("*.py")}
    assert not {name for name in names if name.split(".")[0] in {"scripts", "tests", *scripts}}


def test_the_map_names_every_package() -> None:
    there = {path.relative_to(ROOT / "src").parts[0].removesuffix(".py") for path in FILES[1:]}
    assert there == set().union(*LAYERS)
    text = (ROOT / "src" / "__init__.py").read_text(encoding="utf-8")
    assert all(f"src.{name}" in text for name in there)


def test_only_root_starts_with_an_underscore_among_the_scripts() -> None:
    assert [path.name for path in (ROOT / "scripts").glob("_*.py")] == ["_root.py"]
