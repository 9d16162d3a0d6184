"""Runs of train.py on tiny settings."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import Script, SmallDisk, Trained, wavy_frame, write_depth
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.cli.options import training_parser
from src.cli.parsing import as_preset, read_preset
from src.cli.resume import make_run_folder, script_command
from src.cli.training import make_network
from src.conventions import UserError
from src.network import MEAN_DEPTH, DepthNet
from src.network.encoder import embedded_weights
from src.training import checkpoint, step_profile


def history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def test_a_run_writes_its_files(trained: Trained) -> None:
    printed = (trained.run.parent / "stdout").read_text()
    assert "DATA: NYU Depth V2 (found at --data-dir)" in printed
    assert f"evaluate.py {trained.run / 'best.pt'}" in printed
    for name in ("best.pt", "last.pt", "previous.pt", "options.yaml", "environment.json"):
        assert (trained.run / name).stat().st_size > 0
    for name in ("samples.png", "evaluation-nyu-test.png"):
        Image.open(trained.run / name).verify()
    assert [line["epoch"] for line in history(trained.run)] == [1, 2]
    tags = EventAccumulator(str(trained.run)).Reload().Tags()
    measures = {f"{split}/{name}" for split in ("train", "val") for name in ("loss", "ssim", "rmse_m", "d1")}
    assert measures | {"train/lr", "train/grad_norm", "train/images_per_s"} <= {*tags["scalars"]}
    assert tags["images"] == ["samples"]
    assert len((trained.run / "evaluation-nyu-test.csv").read_text().splitlines()) == 4
    result = json.loads((trained.run / "evaluation-nyu-test.json").read_text())
    assert (result["count"], result["data"], result["split"], result["precision"]) == (3, "nyu", "test", "float32")
    assert set(result["protocols"]["eigen"]) == {"abs_rel", "rmse_m", "log10", "d1", "d2", "d3"}
    assert set(result["protocols"]["metric10"]) == set(result["protocols_flip"]["relative"]) == {"ssim", "mse"}
    about = load(trained.run / "best.pt")["about"]
    assert (about["encoder"], about["target"], about["data"]) == ("tf_efficientnet_lite0", "metric", "nyu")
    again = training_parser("").parse_over(read_preset(trained.run / "options.yaml"), [])
    assert as_preset(again) == about["options"]


def test_a_profile_names_the_networks_parts(script: Script, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_profile, "TRACED", 1)  # a trace of five steps takes long to write
    run = ["train.py", "--data-dir", trained.nyu, "--batch-size", 1, "--limit", 3, "--profile"]
    assert "got a training of 6 steps, expected at least 9" in script(*run, "--epochs", 2, status=2).stderr
    assert not Path("runs").exists()
    done = script(*run, "--epochs", 3, "--out", "run")
    events = {event["name"] for event in json.loads(Path("run/trace.json").read_text())["traceEvents"]}
    assert {"encoder", "decoder", "residual", "inception", "refine", "output", "aten::mkldnn_convolution"} <= events
    assert "%  aten::convolution_backward" in done.stdout


def test_a_damaged_run_resumes_with_its_own_options(script: Script, finished_run: Path, trained: Trained) -> None:
    newest = finished_run / "last.pt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    done = script("train.py", "--resume", finished_run)
    assert "last.pt: refused" in done.stdout
    assert "resumed after epoch 1" in done.stdout
    assert [line["epoch"] for line in history(finished_run)] == [1, 2]
    first, resumed = load(trained.run / "last.pt"), load(finished_run / "last.pt")
    assert resumed["about"]["options"]["clip"] == 0.7
    assert all(torch.equal(value, resumed["network"][key]) for key, value in first["network"].items())
    content = checkpoint.load(newest)  # whose weights take long to read: without them
    checkpoint.save(newest, about=content["about"], network={}, ema=None, swa=None, progress={})
    for arguments, reason in (
        ((finished_run / "best.pt",), "no optimiser state"),
        ((finished_run, "--output", "sigmoid"), "got --output sigmoid, expected the run's own, relu6"),
        ((finished_run, "--lr", 1e-5), "got --lr 1e-05, expected the run's own"),
        ((finished_run, "--loss", "mixed"), "got --loss mixed, expected the run's own, mse"),
        ((finished_run, "--ema", 0), "got --ema 0.0, expected the run's own, 0.998"),
        ((finished_run, "--freeze", 1), "got --freeze 1, expected the run's own, 0"),
        ((finished_run, "--out", "other"), "got --out other, expected the run's own folder"),
    ):
        assert reason in script("train.py", "--resume", *arguments, status=2).stderr


def test_a_run_stops_early_and_may_go_on_with_more_patience(script: Script, trained: Trained) -> None:
    # At a rate of nearly 0, only the norms' statistics change.
    options = ("--data-dir", trained.nyu, "--limit", 1, "--batch-size", 1, "--lr", 1e-12, "--ema", 0, "--out", "run")
    done = script("train.py", *options, "--epochs", 40, "--patience", 2)
    assert "stopped early: in 2 epochs" in done.stdout
    losses = [line["val_loss"] for line in history(Path("run"))]
    assert min(losses[-2:]) >= losses[-3] - 1e-3
    script("train.py", "--resume", "run", "--patience", 3)
    assert len(history(Path("run"))) > len(losses)


def test_other_held_out_frames_choose_the_best_epoch_anew(script: Script, finished_run: Path, trained: Trained) -> None:
    shutil.copytree(trained.nyu / "nyu_data", "other")
    for path in Path("other/data/nyu2_train").rglob("*.jpg"):
        path.write_bytes(path.read_bytes() + b"0")  # other files of the same names
    content = checkpoint.load(finished_run / "last.pt")
    content["progress"]["best"] = 0.0
    checkpoint.save(finished_run / "last.pt", **content)
    done = script("train.py", "--resume", "run", "--data-dir", "other", "--epochs", 3)
    assert "other frames are held out now" in done.stdout
    assert load(finished_run / "best.pt")["about"]["epoch"] == 3


def test_options_of_older_versions_are_dropped_when_a_run_resumes(script: Script, finished_run: Path) -> None:
    content = checkpoint.load(finished_run / "last.pt")
    content["about"]["options"] |= {"swa_lr_scale": 0.25, "name": "old"}
    del content["about"]["held_out"]
    checkpoint.save(finished_run / "last.pt", **content)
    done = script("train.py", "--resume", "auto", "--out", finished_run)
    assert "resumed after epoch 2" in done.stdout
    assert "held out" not in done.stdout


def test_a_run_starts_from_another_runs_weights_in_its_own_units(trained: Trained, tmp_path: Path) -> None:
    def start(*words: str) -> DepthNet:
        return make_network(training_parser("").parse_args(["--init", str(trained.run / "best.pt"), *words]), None)

    same, far, relative = (start(*words).eval() for words in ((), ("--max-depth", "80"), ("--target", "relative")))
    assert checkpoint.digest(same.state_dict()) == checkpoint.digest(load(trained.run / "best.pt")["ema"])
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(80 * far(image), 10 * same(image), rtol=1e-3, atol=1e-3)
    factor = MEAN_DEPTH["relative"] / MEAN_DEPTH["metric"]
    torch.testing.assert_close(relative(image), factor * same(image), rtol=1e-3, atol=1e-3)
    about = load(trained.run / "best.pt")["about"] | {"target": "relative", "weights": "raw"}
    checkpoint.save(tmp_path / "relative.pt", about=about, network=relative.state_dict(), ema=None)
    back = training_parser("").parse_args(["--init", str(tmp_path / "relative.pt"), "--max-depth", "80"])
    torch.testing.assert_close(80 * make_network(back, None).eval()(image), 10 * same(image), rtol=1e-3, atol=1e-3)
    with pytest.raises(UserError, match="--output relu6"):
        start("--output", "sigmoid")


def test_swa_with_frozen_stages_leaves_three_sets_of_weights(script: Script, trained: Trained) -> None:
    options = ("--limit", 2, "--batch-size", 1, "--epochs", 2, "--swa", 0.5, "--freeze", 2, "--max-minutes", 0.001)
    stopped = script("train.py", "--data-dir", trained.nyu, "--out", "run", *options)
    assert "stopped by --max-minutes" in stopped.stdout
    done = script("train.py", "--resume", "run")
    assert "SWA  val_loss" in done.stdout
    content = load(Path("run/last.pt"))
    sets = [content[name] for name in ("network", "ema", "swa")]
    assert len({float(weights["output.0.weight"].sum()) for weights in sets}) == 3
    embedded = embedded_weights()
    for weights in sets:
        assert not torch.equal(weights["encoder.body.blocks.2.0.conv_pw.weight"], embedded["blocks.2.0.conv_pw.weight"])
        for name, value in embedded.items():
            if name.startswith(("conv_stem.", "bn1.", "blocks.0.", "blocks.1.")) and not name.endswith("tracked"):
                assert torch.equal(weights[f"encoder.body.{name}"], value), name
    script("evaluate.py", "run/last.pt", "--weights", "swa", "--json", "swa.json", "--limit", 2)
    assert json.loads(Path("swa.json").read_text())["weights"] == "swa"


def test_half_precision_and_the_relative_target_and_a_resume_in_another_type(script: Script, trained: Trained) -> None:
    options = ("--limit", 1, "--batch-size", 1, "--epochs", 1, "--target", "relative", "--device", "cpu")
    script("train.py", "--data-dir", trained.nyu, "--out", "run", *options, "--amp", "fp16")
    assert load(Path("run/last.pt"))["progress"]["scaler"]["scale"] > 0
    result = json.loads(Path("run/evaluation-nyu-test.json").read_text())
    assert result["precision"] == "float32"
    assert set(result["protocols"]) == {"relative", "eigen_median", "boundary"}
    done = script("train.py", "--resume", "run", "--epochs", 2, "--amp", "bf16")
    assert "not bit for bit" in done.stdout
    assert all(np.isfinite(line["train_loss"]) for line in history(Path("run")))


def test_a_stopped_run_names_its_command_and_restarts_an_epoch_of_new_batches(script: Script, trained: Trained) -> None:
    options = ("--limit", 4, "--batch-size", 2, "--epochs", 1, "--max-minutes", "0.001")
    done = script("train.py", "--data-dir", trained.nyu, "--out", "run", *options)
    assert "train.py --resume run/last.pt --max-minutes 0.001" in done.stdout
    assert not list(Path("run").glob("evaluation*"))
    done = script("train.py", "--resume", "run", "--batch-size", 1)
    assert "resumed after epoch 0 and 1 batches" in done.stdout
    assert "now 4 frames in batches of 1, seed 0, before 4 frames in batches of 2" in done.stdout
    assert [line["step"] for line in history(Path("run"))] == [4]  # the schedule goes back with the epoch
    assert history(Path("run"))[0]["train_lr"] == 0
    done = script("train.py", "--resume", "run", "--batch-size", 2, "--epochs", 3)
    assert [line["step"] for line in history(Path("run"))] == [4, 2 + 2, 2 + 2 + 2]
    rates = [line["train_lr"] for line in history(Path("run"))]
    assert rates[1] > rates[2] == 0  # it ends with the training, not after as many steps as before


def write_csv() -> Path:
    """Write eight pairs in millimetres."""
    for number in range(8):
        image, depth_m = wavy_frame(number, 48, 64)
        Image.fromarray(image).save(f"{number}.jpg")
        write_depth(Path(f"{number}.png"), depth_m, 1000, 16)
    path = Path("pairs.csv")
    path.write_text("".join(f"{number}.jpg,{number}.png\n" for number in range(8)))
    return path


def test_bad_frames_are_named_once_and_left_out_of_training_and_evaluation(script: Script) -> None:
    options = ("--data", "csv", "--data-dir", write_csv(), "--validation", 0.25, "--batch-size", 2)
    Path("2.png").unlink()
    Path("3.jpg").write_bytes(Path("3.jpg").read_bytes()[:700])
    write_depth(Path("4.png"), np.ones((48, 60)), 1000, 16)
    Path("7.png").write_bytes(b"")
    done = script("train.py", *options, "--epochs", 1, "--out", "run")
    assert "3 training frames" in done.stdout
    for name in ("2.png", "3.jpg", "4.png", "7.png"):
        (line,) = {line for line in done.stderr.splitlines() if name in line}
        assert line.endswith("The frame is left out.")
    result = json.loads(Path("run/evaluation-csv-pairs-val.json").read_text())
    assert (result["count"], result["left_out"]) == (1, ["7.jpg"])
    before = set(Path().rglob("*"))
    refused = script("train.py", *options, "--max-bad", 2, "--out", "other", "--cache-dir", "c", status=2)
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "--max-bad allows 2" in errors[0] and "4.png" in errors[0]
    assert set(Path().rglob("*")) - before <= {Path("c")}


def test_a_mistake_in_the_test_list_is_told_before_the_training(script: Script) -> None:
    rows = write_csv().read_text().split()
    rows = ["image,depth,split", *(f"{row},train" for row in rows[:6]), "6.jpg,6.png,val", "none.jpg,none.png,test"]
    Path("pairs.csv").write_text("\n".join(rows))
    done = script("train.py", "--data", "csv", "--data-dir", "pairs.csv", "--epochs", 1, "--out", "run", status=2)
    assert "none.jpg: got no such file" in done.stderr
    assert not Path("run").exists()


def test_own_frames_are_scored_on_what_was_held_out_in_their_own_unit(script: Script) -> None:
    path = write_csv()
    write_depth(Path("0.png"), np.zeros((48, 64)), 1000, 16)
    unit = ("--depth-scale", 900, "--fov", 50, "--max-depth", 9)
    options = ("--data", "csv", "--data-dir", path, "--batch-size", 2, *unit)
    done = script("train.py", *options, "--validation", 0, "--accumulate", 2, "--out", "all", "--epochs", 1)
    assert "7 training frames" in done.stdout
    assert "1 of 8 frames have no valid depth" in done.stdout
    assert "nothing is scored" in done.stdout
    refused = script("train.py", "--resume", "all", "--validation", 0.25, "--accumulate", 1, "--epochs", 2, status=2)
    assert "2 of the 2 frames held out now were trained on" in refused.stderr
    script("train.py", *options, "--validation", 0.25, "--out", "run", "--epochs", 1)
    assert "rmse_m" in load(Path("run/best.pt"))["about"]["validation"]
    assert json.loads(Path("run/evaluation-csv-pairs-val.json").read_text())["count"] == 2
    done = script("evaluate.py", "run/best.pt")
    assert re.search("900 units a metre.* 50 degrees.*scored on the 2 val frames of csv", done.stdout, re.DOTALL)
    done = script("evaluate.py", "run/best.pt", "--split", "test")
    assert "the 7 test frames of csv, 5 TRAINING FRAMES INCLUDED, truth up to 9 m" in done.stdout
    result = json.loads(Path("run/evaluation-csv-pairs-test.json").read_text())
    facts = ("training_frames_included", "max_depth_m", "without_truth")
    assert [result[name] for name in facts] == [5, 9, ["0.jpg"]]
    done = script("export.py", "run/best.pt")
    assert "900 units a metre" in done.stdout and "scored on the 2 val frames" in done.stdout
    copy = shutil.copytree(Path(), Path("copy"), ignore=shutil.ignore_patterns("run", "all")) / path.name
    done = script("evaluate.py", "run/best.safetensors", "--data-dir", copy)
    assert re.search("900 units a metre.* 50 degrees.*the 2 val frames of csv, truth", done.stdout, re.DOTALL)
    Path("others.csv").write_text("0.jpg,1.png\n1.jpg,2.png\n")  # other pairs, whose unit is not known
    done = script("evaluate.py", "run/best.safetensors", "--data-dir", "others.csv", "--split", "test")
    assert re.search("1000 units a metre.* 63 degrees", done.stdout)
    done = script("evaluate.py", "run/best.pt", "--data-dir", copy, "--validation", 0.5, "--split", "val")
    assert re.search("900 units.*the 4 val frames of csv, 2 TRAINING FRAMES INCLUDED", done.stdout, re.DOTALL)
    path.unlink()
    for command in (("evaluate.py", "run/best.pt"), ("train.py", "--resume", "run")):
        refused = script(*command, status=2)
        assert "pairs.csv: got no such file or folder" in refused.stderr and "--data-dir" in refused.stderr


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len({make_run_folder("nyu") for _ in range(20)}) == 20


@pytest.mark.parametrize(("platform", "quote"), [("linux", "'"), ("win32", '"')])
def test_commands_are_quoted_for_the_systems_shell(monkeypatch: pytest.MonkeyPatch, platform: str, quote: str) -> None:
    monkeypatch.setattr("src.cli.resume.ROOT", Path("/a b"))
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("os.path.relpath", Mock(side_effect=ValueError("path is on mount 'D:', start on mount 'C:'")))
    assert script_command("train.py", "--out", Path("c d")) == "'/a b/scripts/train.py' --out 'c d'".replace("'", quote)


MISTAKES = {
    "no data there": (["--data-dir", "nowhere"], "no NYU there"),
    "no weights of it": (["--encoder", "efficientnet_b0", "--data-dir", "{nyu}"], "--no-pretrained"),
    "unwritable out": (["--out", "file/run", "--data-dir", "{nyu}"], "cannot be written"),
    "run there": (["--out", "{run}", "--data-dir", "{nyu}"], "holds a run already"),
    "misspelt preset key": (["--preset", "preset.yaml"], "unrecognized arguments: --epocs=3"),
    "missing checkpoint": (["--resume", "no.pt"], "no.pt: no such checkpoint"),
    "no step": (["--accumulate", "99", "--limit", "4", "--data-dir", "{nyu}"], "--accumulate 99"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_line_and_leaves_nothing(script: Script, trained: Trained, mistake: str) -> None:
    Path("file").touch()
    Path("preset.yaml").write_text("epocs: 3\n")
    words, message = MISTAKES[mistake]
    before = sorted(Path().rglob("*"))
    done = script("train.py", *(word.format(**trained._asdict()) for word in words), status=2)
    (error,) = (line for line in done.stderr.splitlines() if line and " img" not in line)  # without progress bars
    assert message in error
    assert sorted(Path().rglob("*")) == before


def test_auto_without_data_and_network_trains_on_rooms(script: Script) -> None:
    done = script("train.py", "--limit", 1, "--epochs", 1, "--batch-size", 1)
    assert "DATA: generated ROOMS" in done.stdout
    assert "no NYU on this machine" in done.stdout
    (run,) = Path("runs").iterdir()
    assert run.name.endswith("-rooms")
    assert json.loads((run / "evaluation-rooms-test.json").read_text())["trained_on"] == "rooms"


def test_a_run_that_torchrun_may_restart_needs_out(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert "--out" in script("train.py", status=2).stderr


def test_on_a_full_disk_a_run_ends_and_resumes_later(script: Script, trained: Trained, small_disk: SmallDisk) -> None:
    disk = small_disk(190_000_000)  # enough for one state and the best weights, and for half of the next state
    options = ("--limit", 1, "--batch-size", 1, "--epochs", 3, "--data-dir", trained.nyu, "--out", disk / "run")
    done = script("train.py", *options, status=2)
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "No space left on device" in error
    assert not list((disk / "run").glob("*unfinished"))
    subprocess.run(["mount", "-o", "remount,size=400000000", disk], check=True)
    assert "resumed after epoch" in script("train.py", "--resume", disk / "run").stdout
    assert [line["epoch"] for line in history(disk / "run")] == [1, 2, 3]
