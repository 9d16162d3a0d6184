from typing import Any

from src.scoring.comparison import Run, conclude, tabulate, tabulate_beside_original


def run(name: str, ssim: float, abs_rel: float, **more: Any) -> Run:
    median = {"abs_rel": abs_rel, "rmse_m": 0.5, "log10": 0.1, "d1": 1 - abs_rel, "d2": 0.9, "d3": 0.95}
    protocols = {"relative": {"ssim": ssim, "mse": 0.02}, "eigen_median": median, **more}
    mean_map = {"relative": {"ssim": 0.604, "mse": 0.0404}, "metric10": {"ssim": 0.746, "mse": 0.0147}}
    return Run(name, {}, [], {"protocols": protocols, "protocols_mean_map": mean_map})


RUNS = [
    run("lr-2e-4", 0.60, 0.22),
    run("lr-2e-3-plain", 0.65, 0.21),
    run("lr-2e-3", 0.70, 0.20),
    run("lr-2e-3-swa", 0.72, 0.19),
    run("lr-8e-3", 0.68, 0.18),
]


def test_the_conclusion_follows_from_the_figures() -> None:
    words = conclude(RUNS)
    assert "lr-2e-3-swa is the best, with 0.7200, and lr-2e-4 the worst, with 0.6000" in words
    assert "lr-8e-3 is the best, with 0.1800" in words
    assert "Augmentation changes SSIM by +0.0500 and AbsRel by -0.0100" in words
    assert "averaging changes SSIM by +0.0200 and AbsRel by -0.0100" in words
    # The original: 2e-3, plain, 8e-3, 2e-4; here 8e-3 comes before plain.
    assert "another order than in the original project: lr-2e-3, lr-8e-3, lr-2e-3-plain, lr-2e-4" in words
    same = [run(name, ssim, 0.2) for name, ssim in (("lr-2e-3", 0.8), ("lr-8e-3", 0.6), ("lr-2e-4", 0.5))]
    assert "the same order as in the original project" in conclude(same)


def test_tables_have_every_run_the_mean_map_and_the_originals_figures() -> None:
    table = tabulate(RUNS)
    assert "| lr-2e-3-swa | 0.7200 | 0.0200 |" in table
    assert "| lr-8e-3 | 0.1800 | 0.5000 | 0.1000 | 0.8200 |" in table
    assert "`metric10` needs metres" in table
    mixed = tabulate([run("a", 0.6, 0.2, metric10={"ssim": 0.8, "mse": 0.004}), run("b", 0.6, 0.2)])
    assert "| a | 0.8000 | 0.0040 |\n| mean training map, no network | 0.7460 | 0.0147 |" in mixed
    table = tabulate_beside_original(RUNS)
    assert "| lr-2e-3 | 0.7000 | 0.0200 | 0.7754 | 0.0143 |" in table
    assert "| lr-2e-3-swa | 0.7200 | 0.0200 |  |  |" in table
    assert "| mean training map, no network | 0.6040 | 0.0404 |" in table
