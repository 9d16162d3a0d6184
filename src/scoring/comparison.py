"""Several runs side by side: one table, and the conclusion that its figures allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from src.scoring.evaluation import COLUMNS

HEADINGS = {"abs_rel": "AbsRel", "rmse_m": "RMSE (m)", "log10": "log10", "ssim": "SSIM", "mse": "MSE"}

ORIGINAL = {
    "lr-2e-4": (0.7456, 0.01476),
    "lr-2e-3": (0.7754, 0.01427),
    "lr-8e-3": (0.7525, 0.01614),
    "lr-2e-3-plain": (0.7676, 0.01520),
}
"""SSIM and MSE under the relative protocol that the original project's report gives for its runs on 35,450 frames."""


class Run(NamedTuple):
    """A finished run: its name, options, history by epoch, and result as `evaluation.summarize_scores` made it."""

    name: str
    options: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    result: Mapping[str, Any]

    def measure(self, protocol: str, name: str) -> float | None:
        """Look a figure up; None where the network's target does not allow the protocol."""
        value = self.result["protocols"].get(protocol, {}).get(name)
        return None if value is None else float(value)


def tabulate(runs: Sequence[Run]) -> str:
    """Write all measures of all protocols as Markdown tables, the best of each column bold."""
    tables = []
    for protocol, measures in COLUMNS.items():
        lines = [
            f"| {protocol} | " + " | ".join(HEADINGS.get(name, name) for name in measures) + " |",
            "|---" * (len(measures) + 1) + "|",
        ]
        columns = {name: [run.measure(protocol, name) for run in runs] for name in measures}
        if all(value is None for values in columns.values() for value in values):
            tables.append(f"`{protocol}` needs metres, which networks with a relative target do not know.")
            continue
        for row, run in enumerate(runs):
            cells = [_cell(columns[name], row, higher=name in ("d1", "d2", "d3", "ssim")) for name in measures]
            lines.append(f"| {run.name} | " + " | ".join(cells) + " |")
        if mean_map := runs[0].result.get("protocols_mean_map", {}).get(protocol):
            lines.append(
                "| mean training map, no network | " + " | ".join(f"{mean_map[m]:.4f}" for m in measures) + " |"
            )
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def tabulate_beside_original(runs: Sequence[Run]) -> str:
    """Write the relative protocol beside the figures of the original project's report."""
    lines = ["| run | SSIM | MSE | the original's SSIM | the original's MSE |", "|---|---|---|---|---|"]
    for run in runs:
        ours = (run.measure("relative", name) for name in ("ssim", "mse"))
        theirs = ORIGINAL.get(run.name, (None, None))
        cells = [" " if value is None else f"{value:.4f}" for value in (*ours, *theirs)]
        lines.append(f"| {run.name} | " + " | ".join(cells) + " |")
    if mean_map := runs[0].result.get("protocols_mean_map", {}).get("relative"):
        lines.append(f"| mean training map, no network | {mean_map['ssim']:.4f} | {mean_map['mse']:.4f} | | |")
    return "\n".join(lines)


def conclude(runs: Sequence[Run]) -> str:
    """Say in words what the figures show, and no more."""
    scored = {run.name: run.measure("relative", "ssim") or 0.0 for run in runs}
    best = max(scored, key=scored.__getitem__)
    worst = min(scored, key=scored.__getitem__)
    sentences = [
        f"Under the relative protocol {best} has the highest SSIM, {scored[best]:.4f}, "
        f"and {worst} the lowest, {scored[worst]:.4f}."
    ]
    errors = {run.name: run.measure("eigen_median", "abs_rel") or 0.0 for run in runs}
    nearest = min(errors, key=errors.__getitem__)
    sentences.append(
        f"By AbsRel after median scaling, which SSIM does not see, "
        f"{'it is also the best' if nearest == best else f'{nearest} is the best'}, with {errors[nearest]:.4f}."
    )
    for changed, base, what in (
        ("lr-2e-3", "lr-2e-3-plain", "Augmentation"),
        ("lr-2e-3-swa", "lr-2e-3", "Stochastic weight averaging"),
    ):
        if {changed, base} <= scored.keys():
            by, error_by = scored[changed] - scored[base], errors[changed] - errors[base]
            sentences.append(f"{what} changes SSIM by {by:+.4f} and AbsRel by {error_by:+.4f} at the same rate.")
    common = [name for name in ORIGINAL if name in scored]
    if len(common) > 1:
        ours, theirs = (
            sorted(common, key=key, reverse=True) for key in (scored.__getitem__, lambda name: ORIGINAL[name][0])
        )
        agree = "the same order as" if ours == theirs else "another order than"
        sentences.append(f"By SSIM the runs stand in {agree} the original project's: {', '.join(ours)}.")
    sentences.append("Each row is one run with one random seed: differences of a hundredth may be chance.")
    return " ".join(sentences)


def _cell(column: Sequence[float | None], row: int, *, higher: bool) -> str:
    value, known = column[row], [each for each in column if each is not None]
    if value is None:
        return "–"
    best = max(known) if higher else min(known)
    return f"**{value:.4f}**" if value == best else f"{value:.4f}"
