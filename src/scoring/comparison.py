"""The runs of the original project's experiment in tables, and the conclusions that their figures allow."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

COLUMNS_COMPARED = (
    ("relative", "ssim", "SSIM"),
    ("relative", "mse", "MSE"),
    ("eigen_median", "abs_rel", "AbsRel, median-scaled"),
    ("eigen_median", "d1", "d1, median-scaled"),
)
"""The measures that are defined for networks of either target."""

ORIGINAL = {
    "lr-2e-4": (0.7456, 0.01476),
    "lr-2e-3": (0.7754, 0.01427),
    "lr-8e-3": (0.7525, 0.01614),
    "lr-2e-3-plain": (0.7676, 0.01520),
}
"""SSIM and MSE by the relative protocol in the original project's report, from 35,450 training frames."""

CHANGES = (("lr-2e-3", "lr-2e-3-plain", "Augmentation"), ("lr-2e-3-swa", "lr-2e-3", "Stochastic weight averaging"))
"""What two runs differ in: the run with it, the run without, its name."""


class Run(NamedTuple):
    """A run: its name, metrics by epoch, and the result of `evaluation.summarize_scores`.

    The result is None where the weights or the loss ceased to be finite before an epoch could be saved.
    """

    name: str
    history: Sequence[Mapping[str, float]]
    result: Mapping[str, Any] | None

    @property
    def steps(self) -> int:
        """How many steps were made."""
        return int(self.history[-1]["step"]) if self.history else 0

    def measure(self, protocol: str, name: str) -> float:
        """Return a figure of the result; KeyError when the protocol is not defined for the network's target."""
        assert self.result is not None
        return float(self.result["protocols"][protocol][name])


def tabulate(runs: Sequence[Run]) -> str:
    """Write a Markdown table of all runs beside the mean map and the original's figures."""
    has_original = any(run.name in ORIGINAL for run in runs)
    headings = [heading for *_, heading in COLUMNS_COMPARED]
    headings = ["run", "steps", *headings, *(["the original's SSIM", "the original's MSE"] if has_original else [])]
    rows: list[list[str]] = []
    for run in runs:
        cells = ["not finite"] * len(COLUMNS_COMPARED)
        if run.result is not None:
            cells = [f"{run.measure(protocol, name):.4f}" for protocol, name, _ in COLUMNS_COMPARED]
        rows.append([run.name, str(run.steps), *cells, *(f"{value:.4f}" for value in ORIGINAL.get(run.name, ()))])
    if mean_map := next((run.result.get("protocols_mean_map") for run in runs if run.result), None):
        known = [mean_map.get(protocol, {}).get(name) for protocol, name, _ in COLUMNS_COMPARED]
        rows.append(["mean training map, no network", "", *("" if x is None else f"{x:.4f}" for x in known)])
    lines = [headings, ["---"] * len(headings), *(row + [""] * (len(headings) - len(row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def conclude(runs: Sequence[Run]) -> str:
    """State in words what the figures show, a sentence per finding."""
    finite = {run.name: run for run in runs if run.result is not None}
    sentences = [f"{run.name} ceased to be finite after {run.steps} steps." for run in runs if run.result is None]
    if finite:
        ssim = {name: run.measure("relative", "ssim") for name, run in finite.items()}
        abs_rel = {name: run.measure("eigen_median", "abs_rel") for name, run in finite.items()}
        ranked = sorted(ssim, key=ssim.__getitem__, reverse=True)
        nearest = min(abs_rel, key=abs_rel.__getitem__)
        sentences.append(f"By SSIM the order is {', '.join(f'{name} ({ssim[name]:.4f})' for name in ranked)}.")
        sentences.append(f"By AbsRel after median scaling {nearest} is the best, with {abs_rel[nearest]:.4f}.")
        for name, base, change in CHANGES:
            if {name, base} <= ssim.keys():
                differences = [values[name] - values[base] for values in (ssim, abs_rel)]
                sentences.append(f"{change} changes SSIM by {differences[0]:+.4f}, AbsRel by {differences[1]:+.4f}.")
        common = [name for name in ranked if name in ORIGINAL]
        if len(common) > 1:
            original = sorted(common, key=lambda name: ORIGINAL[name][0], reverse=True)
            order = "also the original's order" if common == original else f"not the original's: {', '.join(original)}"
            sentences.append(f"Of the runs that the original reports, this is {order}.")
        mean_map = finite[ranked[0]].result["protocols_mean_map"].get("relative")  # type: ignore[index]
        below = [name for name in ranked if mean_map and ssim[name] < mean_map["ssim"]]
        if mean_map:
            sentences.append(f"Below the mean map's SSIM of {mean_map['ssim']:.4f}: {', '.join(below) or 'none'}.")
    return "\n".join(f"- {sentence}" for sentence in sentences)
