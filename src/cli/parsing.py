"""An argparse parser with one-line errors, and presets: flags written as YAML and read by the same parser."""

import argparse
import contextlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import yaml

from src.conventions import UserError

ROOT = Path(__file__).resolve().parents[2]

Reason = Callable[[argparse.Namespace], str | None]
"""Why an option has no effect beside the others, such as "without --augment"; None where it has one."""


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Show each default, unless there is none or the option's own help describes it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, []) else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser with one-line errors that also reads presets.

    The namespace contains `typed`, the names of the options on the command line. A typed option that has no effect
    with the others is an error, see `refuse_idle`.
    """

    def __init__(self, description: str | None) -> None:
        super().__init__(description=(description or "").split("\n")[0], allow_abbrev=False, formatter_class=Help)
        self._idle: dict[str, Reason] = {}

    def error(self, message: str) -> NoReturn:
        """End the script with a one-line message and status 2."""
        line = " ".join(message.split())
        line = line if len(line) < 500 else f"{line[:500]} …"
        self.exit(2, f"error: {line}. See: python scripts/{self.prog} --help\n")

    def refuse_idle(self, name: str, reason: Reason) -> None:
        """Refuse the typed option `name` whenever `reason` returns one."""
        before = self._idle.get(name)
        self._idle[name] = (lambda options: before(options) or reason(options)) if before else reason

    def peek(self) -> argparse.Namespace:
        """Parse the command line alone, before its preset or its resumed run is read."""
        return super().parse_args()

    def parse_args(self, argv: Sequence[str] | None = None) -> argparse.Namespace:  # type: ignore[override]
        """Parse defaults < command line."""
        return self.parse_over({}, sys.argv[1:] if argv is None else argv)

    def parse_over(self, preset: Mapping[str, Any], argv: Sequence[str]) -> argparse.Namespace:
        """Parse defaults < preset < command line."""
        options = super().parse_args([*as_tokens(preset), *argv])
        options.typed = self._typed(argv)
        for name in sorted(options.typed & self._idle.keys()):
            if reason := self._idle[name](options):
                self.error(f"argument --{name.replace('_', '-')}: has no effect {reason}")
        return options

    def known(self, preset: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entries of a preset that are options of this parser; a checkpoint may have older ones."""
        names = {action.dest for action in self._actions}
        return {key: value for key, value in preset.items() if key in names}

    def _typed(self, argv: Sequence[str]) -> frozenset[str]:
        absent = object()  # argparse fills in a default only where the namespace lacks the name
        found = super().parse_args(argv, argparse.Namespace(**{action.dest: absent for action in self._actions}))
        return frozenset(name for name, value in vars(found).items() if value is not absent)


class Names(argparse.Action):
    """An option that takes some of its choices, or none to mean `const`, and stores them in their own order."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, [name for name in self.choices or () if name in (values or self.const)])


FLAG = re.compile(r"(?!help$)[a-z][a-z_-]*")
LARGEST_INT = 10**18


def as_tokens(preset: Mapping[str, Any]) -> list[str]:
    """Write `{lr: 0.002, augment: [flip], swa: null}` as `--lr=0.002 --augment flip`; null leaves the default.

    **Raises**: UserError for a key that cannot be an option, and for a value that is neither a single one nor a list of
    words (whose text is not shown: a few lines of YAML can expand to millions of items).
    """
    tokens = []
    for key, value in preset.items():
        if not isinstance(key, str) or not FLAG.fullmatch(key):
            got = repr(key[:60]) if isinstance(key, str) else f"a {type(key).__name__}"
            raise UserError(f"a preset's key: got {got}, expected an option's name, as in lr: 0.002")
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            tokens.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list) and all(isinstance(item, str) and FLAG.fullmatch(item) for item in value):
            tokens += [f"--{flag}", *value] if value else [f"--no-{flag}"]
        elif isinstance(value, str | int | float | date) and not (isinstance(value, int) and abs(value) > LARGEST_INT):
            tokens.append(f"--{flag}={value}")
        elif value is not None:
            raise UserError(f"a preset's {key}: got a {type(value).__name__}, expected one value, as in lr: 0.002")
    return tokens


def as_preset(options: argparse.Namespace) -> dict[str, Any]:
    """Write options as plain values that, read as a preset, repeat the run."""
    about_this_run = ("out", "resume", "preset", "max_minutes", "typed")
    values = {key: value for key, value in vars(options).items() if key not in about_this_run}
    return {key: str(value.resolve()) if isinstance(value, Path) else value for key, value in values.items()}


def read_preset(path: Path | None) -> dict[str, Any]:
    """Read a preset from its path, or from `configs/`.

    **Raises**: UserError when there is no such file or it holds no flags.
    """
    if path is None:
        return {}
    found = next((candidate for candidate in (path, ROOT / "configs" / path) if candidate.is_file()), None)
    if found is None:
        known = ", ".join(sorted(preset.name for preset in (ROOT / "configs").glob("*.yaml")))
        raise UserError(f"--preset {path}: no such file. configs/ has {known}.")
    try:
        preset = yaml.safe_load(found.read_text(encoding="utf-8"))
    except Exception as error:  # PyYAML passes on whatever its date and number constructors raise
        raise UserError(f"--preset {path}: not YAML ({' '.join(str(error).split())[:120]}).") from None
    if not isinstance(preset, dict):
        raise UserError(f"--preset {path}: got {type(preset).__name__}, expected lines like lr: 0.002")
    if nested := preset.keys() & {"preset", "resume"}:
        raise UserError(f"--preset {path}: got the key {min(nested)}, expected options of one new run.")
    return preset


def checked(kind: Callable[[str], Any], accept: Callable[[Any], object], wanted: str) -> Callable[[str], Any]:
    """Make a type for argparse: what `kind` makes of the text, if it can, and `accept` approves."""

    def parse(text: str) -> Any:
        with contextlib.suppress(ValueError):
            if accept(value := kind(text)):
                return value
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {wanted}")

    return parse


def file_named(*endings: str) -> Callable[[str], Path]:
    """Make a type for argparse that accepts only names of files with one of these endings."""

    def check(text: str) -> Path:
        if not text.lower().endswith(endings):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a name that ends in {' or '.join(endings)}")
        return Path(text)

    return check
