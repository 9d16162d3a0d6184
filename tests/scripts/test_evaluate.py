"""evaluate.py and export.py, and the weights that ship."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PHOTO, Script, Trained

from evaluate import default_folder
from src.cli.report import print_comparison
from src.conventions import UserError
from src.estimator import DepthEstimator
from src.network import SHIPPED
from src.scoring.evaluation import ImageScore
from src.training import checkpoint


def test_the_data_of_the_training_are_found_again_never_replaced_by_rooms(script: Script, finished_run: Path) -> None:
    # Without the folder of the training, this would start a download.
    done = script("evaluate.py", "run/best.pt", "--data", "nyu", "--limit", 2, "--json", "a.json", "--amp", "bf16")
    assert "DATA: NYU Depth V2 (found at --data-dir)" in done.stdout
    assert "relative, mean map" in done.stdout
    result = json.loads(Path("a.json").read_text())
    assert (result["precision"], result["mean_map_frames"], result["count"]) == ("bfloat16", 2, 2)
    assert str(torch.get_num_threads()) in result["device"]
    files = [finished_run / part / "evaluation-nyu-test.json" for part in ("", "limit-2")]
    assert [json.loads(file.read_text())["count"] for file in files] == [3, 2]
    content = checkpoint.load(finished_run / "best.pt")
    content["about"]["options"]["data_dir"] = "gone"
    checkpoint.save(finished_run / "best.pt", **content)
    assert "--data nyu: no NYU" in script("evaluate.py", "run/best.pt", status=2).stderr


def test_two_networks_are_compared_on_the_same_frames(script: Script, finished_run: Path, trained: Trained) -> None:
    options = ["--data-dir", trained.nyu, "--json", "a.json", "--out", "out"]
    compared = ["run/best.pt", "--compare", "run/last.pt", "--weights", "raw", "--save-png", "png"]
    done = script("evaluate.py", *compared, *options)
    assert "run/best.pt (raw) and run/last.pt (raw) on the same 3 frames" in done.stdout
    result, other = (json.loads(Path(p).read_text()) for p in ("a.json", "out/compared/evaluation-nyu-test.json"))
    assert "png: holds predictions or truth already" in script("evaluate.py", *compared, *options, status=2).stderr
    content = checkpoint.load(finished_run / "last.pt")
    content["about"]["max_depth_m"] = 20.0
    checkpoint.save(finished_run / "last.pt", **content)
    assert "got networks of 10 and 20 m" in script("evaluate.py", *compared[:-1], "x", *options, status=2).stderr
    d1 = result["compared"]["eigen_d1"]
    assert (d1["first"], d1["second"]) == tuple(r["protocols"]["eigen"]["d1"] for r in (result, other))
    assert len(list(Path("png/predictions").iterdir())) == 3


def test_a_network_does_not_differ_from_itself_where_a_photo_is_listed_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores = [ImageScore("a", {"relative": {"ssim": ssim, "mse": 0.1}}, {}, {}, {}, 1.0) for ssim in (0.2, 0.8)]
    found = print_comparison(scores, scores, ("x", "y"))
    assert (found["relative_ssim"]["first"], found["relative_ssim"]["second"]) == (0.5, 0.5)
    assert "on the same 2 frames" in capsys.readouterr().out
    with pytest.raises(UserError, match="one of the networks only"):
        print_comparison(scores, scores[:1], ("x", "y"))


def test_figures_of_other_weights_do_not_replace_those_of_the_best(tmp_path: Path) -> None:
    best, last, graph = (tmp_path / name for name in ("best.pt", "last.pt", "net.onnx"))
    assert default_folder(best, None, None) == tmp_path
    assert default_folder(best, "raw", None) == tmp_path / "best-pt-raw"
    assert default_folder(last, None, 5) == tmp_path / "last-pt" / "limit-5"
    assert default_folder(graph, None, None) == tmp_path / "net-onnx"
    assert default_folder(None, None, None) == Path("runs") / "shipped"


def test_a_csv_is_scored_without_a_mean_map(script: Script, trained: Trained) -> None:
    pairs, names = Path("one.csv"), ("00000_colors.png", "00000_depth.png")
    for name in names:
        shutil.copy(trained.nyu / "nyu_data/data/nyu2_test" / name, name)
    pairs.write_text(",".join(names))
    done = script("evaluate.py", "--data", "csv", "--data-dir", pairs, "--out", "out")
    result = json.loads(Path("out/evaluation-csv-one-test.json").read_text())
    assert (result["count"], result["mean_map_frames"], result["protocols_mean_map"]) == (1, 0, {})
    assert "no training frames" in done.stdout
    for option in ("--out", "--json"):
        refused = script("evaluate.py", "--data", "csv", "--data-dir", pairs, option, pairs / "x", status=2)
        assert f"error: {option} " in refused.stderr and "network" not in refused.stdout


def test_an_export_has_scores_and_predicts_the_same(script: Script, finished_run: Path, trained: Trained) -> None:
    done = script("export.py", finished_run / "best.pt", "--data-dir", trained.nyu, "--limit", 2)
    exported = checkpoint.load(finished_run / "best.safetensors")
    assert exported["about"]["scores"]["count"] == 2
    assert str(trained.nyu) not in json.dumps(exported["about"])
    assert "best.safetensors.sha256" in done.stdout
    depths_m = [DepthEstimator(finished_run / name)(PHOTO) for name in ("best.pt", "best.safetensors")]
    np.testing.assert_allclose(*depths_m, atol=0.02)
    words = "export.py", finished_run / "best.safetensors", "--data-dir", trained.nyu, "--limit", 2, "--out"
    named = [line for line in script(*words, "again.safetensors").stdout.splitlines() if line.startswith("network: ")]
    assert ["d1" in line for line in named] == [True, False]  # what is not scored yet shows no scores of its source


def test_the_mean_of_several_runs_is_exported(script: Script, finished_run: Path, trained: Trained) -> None:
    content = checkpoint.load(finished_run / "best.pt")
    weights, name = checkpoint.choose_weights(content)
    tripled = {key: 3 * value if value.is_floating_point() else value for key, value in weights.items()}
    about = content["about"] | {"frames": "0123456789", "options": content["about"]["options"] | {"seed": 7}}
    checkpoint.save(finished_run / "other.pt", about=about, network=tripled, ema=tripled)
    words = "export.py", finished_run / "best.pt", "--out", "mean.safetensors", "--data-dir", trained.nyu, "--limit", 2
    script(*words, "--average", finished_run / "other.pt")
    exported = checkpoint.load(Path("mean.safetensors"))
    for key, value in exported[name].items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 2 * weights[key], rtol=1e-3, atol=1e-4)
    assert exported["about"]["averaged_seeds"] == [0, 7]
    assert exported["about"]["frames"] == content["about"]["frames"] + "0123456789"
    Path("no.csv").write_text("none.jpg,none.png\n")
    script(words[0], words[1], "--out", "mean.safetensors", "--data-dir", "no.csv", status=2)
    assert checkpoint.load(Path("mean.safetensors"))["about"]["scores"] == exported["about"]["scores"]
    assert not list(Path().glob(".unscored*"))
    refused = script(*words, "--average", SHIPPED.with_name("relative.safetensors"), status=2)
    assert "error: --average" in refused.stderr and "expected" in refused.stderr


def test_the_shipped_weights_fit_their_checksum_and_their_card() -> None:
    assert checkpoint.checksum_of(SHIPPED).is_file()  # which `load` compares
    scores = checkpoint.load(SHIPPED)["about"]["scores"]
    card = (SHIPPED.parent / "README.md").read_text()
    for protocol, names in {"eigen": ("abs_rel", "rmse_m", "log10", "d1"), "metric10": ("ssim", "mse")}.items():
        for name in names:
            digits = 4 if name == "mse" else 3
            assert f"{scores['protocols'][protocol][name]:.{digits}f}" in card, (protocol, name)
    assert scores["count"] == 294
    assert SHIPPED.stat().st_size < 8e6


def test_the_shipped_weights_on_real_frames(script: Script, real_nyu: Path) -> None:
    done = script("evaluate.py", "--data-dir", real_nyu, "--limit", 40, "--json", "r.json", "--out", "out")
    assert "the weights that ship" in done.stdout
    eigen = json.loads(Path("r.json").read_text())["protocols"]["eigen"]
    assert eigen["d1"] > 0.70
    assert eigen["rmse_m"] < 0.65
