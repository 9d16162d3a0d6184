"""Score a checkpoint, or the weights that ship, by the protocols of the original project and of the field.

python scripts/evaluate.py runs/…/best.pt
"""

from _root import run

from src.cli.options import parse_evaluation

if __name__ == "__main__":
    parse_evaluation(__doc__)  # --help and usage errors are answered before the imports that take seconds

from pathlib import Path

from src.cli.network import choose_split, open_its_data, open_network
from src.cli.report import print_comparison, report
from src.conventions import UserError
from src.estimator import DepthEstimator
from src.files import check_file
from src.scoring.evaluation import write_json
from src.training.checkpoint_manager import BEST
from src.training.run_log import check_run_folder


def main() -> None:
    options = parse_evaluation(__doc__)
    folder = options.out or default_folder(options.checkpoint, options.weights, options.limit)
    check_run_folder(folder)
    if options.json:
        check_file(options.json, "--json")
    estimator = open_network(options.checkpoint, options.weights, options)
    other = options.compare and open_network(options.compare, options.weights, options)
    if other:
        check_comparable(estimator, other)
    if options.save_png and any((options.save_png / name).exists() for name in ("predictions", "truth")):
        raise UserError(f"--save-png {options.save_png}: holds predictions or truth already. Name another folder.")
    if options.save_png and estimator.unit_m is None:
        raise UserError(f"--save-png: {estimator.name} predicts no metres. Leave it out.")
    data = open_its_data(estimator.about, options)
    split = choose_split(options.split, data, estimator.about)
    bounds = {"limit": options.limit, "max_bad": options.max_bad}
    result, scores = report(estimator, data, split, folder=folder, save_png=options.save_png, **bounds)
    if other:
        _, others = report(other, data, split, folder=folder / "compared", **bounds)
        result["compared"] = print_comparison(scores, others, (estimator.name, other.name))
    if options.json:
        write_json(options.json, result)


def default_folder(checkpoint: Path | None, weights: str | None, limit: int | None) -> Path:
    """Choose the folder of the results. Other weights than a run's best.pt, and fewer frames, replace no figures."""
    folder = checkpoint.parent if checkpoint else Path("runs") / "shipped"
    if checkpoint and (checkpoint.name != BEST or weights):
        folder /= "-".join([checkpoint.name.replace(".", "-"), *([weights] if weights else [])])
    return folder / f"limit-{limit}" if limit else folder


def check_comparable(first: DepthEstimator, second: DepthEstimator) -> None:
    """Refuse networks of different ranges, which are scored on different truth."""
    ranges_m = [estimator.about["max_depth_m"] for estimator in (first, second)]
    if ranges_m[0] != ranges_m[1]:
        raise UserError("--compare: got networks of {:g} and {:g} m, expected one range.".format(*ranges_m))


if __name__ == "__main__":
    run(main)
