"""Several runs in one table, and the conclusion that its figures allow."""

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
"""SSIM and MSE by the relative protocol in the original project's report, from 35,450 training frames."""


class Run(NamedTuple):
    """A finished run: its name, options, metrics by epoch, and the result of `evaluation.summarize_scores`."""

    name: str
    options: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    result: Mapping[str, Any]

    def measure(self, protocol: str, name: str) -> float:
        """Return a figure of the result; KeyError when the protocol is not defined for the network's target."""
        return float(self.result["protocols"][protocol][name])


def tabulate(runs: Sequence[Run]) -> str:
    """Write all measures of all protocols as Markdown tables."""
    tables = []
    for protocol, measures in COLUMNS.items():
        if rows := _rows(runs, protocol, measures):
            tables.append(_table([protocol, *(HEADINGS.get(name, name) for name in measures)], rows))
        else:
            tables.append(f"`{protocol}` needs metres, which networks of the relative target do not estimate.")
    return "\n\n".join(tables)


def tabulate_beside_original(runs: Sequence[Run]) -> str:
    """Write the relative protocol beside the figures of the original project's report."""
    measured = _rows(runs, "relative", ("ssim", "mse"))
    rows = {name: [*values, *ORIGINAL.get(name, ())] for name, values in measured.items()}
    return _table(["run", "SSIM", "MSE", "the original's SSIM", "the original's MSE"], rows)


def _rows(runs: Sequence[Run], protocol: str, measures: Sequence[str]) -> dict[str, list[float]]:
    """Return a protocol's measures by run and those of the mean map; nothing if no run has the protocol."""
    known = [run for run in runs if protocol in run.result["protocols"]]
    rows = {run.name: [run.measure(protocol, name) for name in measures] for run in known}
    mean_map = runs[0].result.get("protocols_mean_map", {}).get(protocol)
    if known and mean_map:
        rows["mean training map, no network"] = [mean_map[name] for name in measures]
    return rows


def _table(headings: Sequence[str], rows: Mapping[str, Sequence[float]]) -> str:
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for name, values in rows.items():
        cells = [name, *(f"{value:.4f}" for value in values), *[""] * (len(headings) - 1 - len(values))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def conclude(runs: Sequence[Run]) -> str:
    """State in words what the figures show."""
    ssim = {run.name: run.measure("relative", "ssim") for run in runs}
    abs_rel = {run.name: run.measure("eigen_median", "abs_rel") for run in runs}
    ranked = sorted(ssim, key=ssim.__getitem__, reverse=True)
    nearest = min(abs_rel, key=abs_rel.__getitem__)
    sentences = [
        f"By SSIM of the relative protocol {ranked[0]} is the best, with {ssim[ranked[0]]:.4f}, and {ranked[-1]} the "
        f"worst, with {ssim[ranked[-1]]:.4f}. By AbsRel after median scaling {nearest} is the best, with "
        f"{abs_rel[nearest]:.4f}."
    ]
    for run, base, change in (
        ("lr-2e-3", "lr-2e-3-plain", "Augmentation"),
        ("lr-2e-3-swa", "lr-2e-3", "Stochastic weight averaging"),
    ):
        if {run, base} <= ssim.keys():
            differences = f"SSIM by {ssim[run] - ssim[base]:+.4f} and AbsRel by {abs_rel[run] - abs_rel[base]:+.4f}"
            sentences.append(f"{change} changes {differences} at the same rate.")
    common = [name for name in ranked if name in ORIGINAL]
    if len(common) > 1:
        original = sorted(common, key=lambda name: ORIGINAL[name][0], reverse=True)
        order = "the same order as in" if common == original else "another order than in"
        sentences.append(f"By SSIM the runs are in {order} the original project: {', '.join(common)}.")
    sentences.append("Each row is one run with one random seed: differences of a hundredth may be chance.")
    return " ".join(sentences)
