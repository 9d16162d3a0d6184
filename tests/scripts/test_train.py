"""Whole runs on tiny settings, as subprocesses from another folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, Script, SmallDisk, wavy_frame, write_depth
from PIL import Image

from src.cli.options import training_parser
from src.data.augment import Augmentation
from src.network.encoder import embedded_weights
from train import choose_augmentation

TINY = ("--limit", 6, "--epochs", 2, "--batch-size", 3)


def test_a_run_leaves_all_it_promises_and_can_be_evaluated_and_repeated(
    script: Script, nyu_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = script("train.py", "--lr", "2e-3", "--augment", "--data-dir", nyu_folder, "--out", run, *TINY)
    assert "DATA: NYU Depth V2 (found at --data-dir)" in done.stdout
    assert f"evaluate.py {run / 'best.pt'}" in done.stdout
    for name in ("best.pt", "last.pt", "options.yaml", "metrics.jsonl", "environment.json"):
        assert (run / name).stat().st_size > 0
    for name in ("samples.png", "evaluation-nyu-test.png"):
        Image.open(run / name).verify()
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert len((run / "evaluation-nyu-test.csv").read_text().splitlines()) == 4
    content = torch.load(run / "best.pt", weights_only=True)
    assert (
        content["about"] | {"encoder": "tf_efficientnet_lite0", "target": "metric", "data": "nyu"} == content["about"]
    )

    script("evaluate.py", run / "last.pt", "--json", tmp_path / "result.json", "--out", tmp_path / "elsewhere")
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["count"], result["data"], result["split"]) == (3, "nyu", "test")
    assert set(result["protocols"]["eigen"]) == {"abs_rel", "rmse_m", "log10", "d1", "d2", "d3"}
    assert set(result["protocols"]["metric10"]) == set(result["protocols_flip"]["relative"]) == {"ssim", "mse"}

    again = tmp_path / "again"
    script("train.py", "--preset", run / "options.yaml", "--out", again)
    lines = [json.loads(line) for line in (again / "metrics.jsonl").read_text().splitlines()]
    first = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["train_loss"] for line in lines] == [line["train_loss"] for line in first]

    other = torch.load(again / "best.pt", weights_only=True)["network"]
    assert all(torch.equal(value, other[key]) for key, value in content["network"].items())


@pytest.mark.parametrize(
    ("kind", "typed", "zoom"),
    [
        ("nyu", ["--augment"], Augmentation().zoom),
        ("rooms", ["--augment"], 1.0),
        ("rooms", ["--augment", "--zoom", "0.8"], 0.8),
    ],
)
def test_rooms_stay_whole_unless_asked(kind: str, typed: list[str], zoom: float) -> None:
    options = training_parser("a test").parse_args(typed)
    assert choose_augmentation(options, kind) == Augmentation(zoom=zoom)


def test_without_augment_nothing_changes() -> None:
    options = training_parser("a test").parse_args(["--no-augment"])
    assert choose_augmentation(options, "nyu") == Augmentation.none()


def test_a_resumed_run_goes_on_with_its_own_options(script: Script, nyu_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    script("train.py", "--data-dir", nyu_folder, "--out", run, "--limit", 4, "--epochs", 1, "--optimizer", "adamw")
    done = script("train.py", "--resume", run, "--epochs", 2)
    assert "resumed after epoch 1" in done.stdout
    assert yaml.safe_load((run / "options.yaml").read_text())["optimizer"] == "adamw"
    epochs = [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2]
    refused = script("train.py", "--resume", run / "best.pt", status=2)
    assert "no optimiser state" in refused.stderr


def test_a_run_starts_from_another_runs_weights(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    common = ("--data-dir", nyu_folder, "--limit", 4)
    script_inside("train.py", *common, "--out", first, "--epochs", 2)
    # A rate this small leaves the weights where they began.
    still = ("--lr", 1e-12, "--epochs", 1, "--ema", 0)
    done = script_inside("train.py", *common, "--out", second, "--init", first / "best.pt", *still)
    assert "starting from" in done.stdout and "trained on nyu" in done.stdout
    before, after = (torch.load(run / "best.pt", weights_only=True) for run in (first, second))
    for name, value in before["ema"].items():
        if "running" not in name and "num_batches" not in name:
            assert torch.allclose(value, after["network"][name], atol=1e-6), name
    # A run that goes on takes its own weights, whatever became of that file.
    (first / "best.pt").unlink()
    assert "starting from" not in script_inside("train.py", "--resume", second, "--epochs", 2).stdout
    refused = script_inside("train.py", *common, "--out", third, "--init", first / "best.pt", status=2)
    assert "no such checkpoint" in refused.stderr
    other = ("--init", second / "best.pt", "--target", "relative")
    refused = script_inside("train.py", *common, "--out", third, *other, status=2)
    assert "got target metric, expected relative. Add --target metric" in refused.stderr
    assert not third.exists()


def test_frozen_stages_stay_imagenets_in_a_run_that_was_resumed(
    script_inside: Script, nyu_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    script_inside("train.py", "--data-dir", nyu_folder, "--out", run, "--limit", 4, "--epochs", 1, "--freeze", 2)
    script_inside("train.py", "--resume", run, "--epochs", 2)
    trained, frozen = torch.load(run / "last.pt", weights_only=True)["network"], 0
    for name, value in embedded_weights().items():
        if name.startswith(("conv_stem.", "bn1.", "blocks.0.", "blocks.1.")):
            assert torch.equal(trained[f"encoder.body.{name}"], value), name
            frozen += 1
    assert frozen > 40
    name = "blocks.2.0.conv_pw.weight"
    assert not torch.equal(trained[f"encoder.body.{name}"], embedded_weights()[name])


def test_relative_depth_has_its_own_measures(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    script_inside(
        "train.py", "--data-dir", nyu_folder, "--out", run, "--target", "relative", "--limit", 4, "--epochs", 1
    )
    result = json.loads((run / "evaluation-nyu-test.json").read_text())
    assert set(result["protocols"]) == {"relative", "eigen_median"}


def test_a_users_own_pairs(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    pairs = nyu_folder / "nyu_data" / "pairs.csv"
    pairs.write_text((nyu_folder / "nyu_data/data/nyu2_train.csv").read_text())
    run = tmp_path / "run"
    arguments = ("--data", "csv", "--data-dir", pairs, "--depth-scale", 25.5, "--validation", 0.2)
    script_inside("train.py", *arguments, "--out", run, "--epochs", 1, "--accumulate", 2, "--batch-size", 4)
    assert json.loads((run / "evaluation-csv-val.json").read_text())["count"] == 6
    assert "most of its rows were trained on" in script_inside("evaluate.py", run / "best.pt").stdout
    assert "most of its rows" not in script_inside("evaluate.py", run / "best.pt", "--split", "val").stdout
    done = script_inside("train.py", "--data", "csv", "--data-dir", pairs, "--out", tmp_path / "no-unit", status=2)
    assert "--depth-scale" in done.stderr


def test_all_pairs_can_be_trained_on_and_then_nothing_is_scored(
    script_inside: Script, nyu_folder: Path, tmp_path: Path
) -> None:
    pairs = nyu_folder / "nyu_data" / "pairs.csv"
    pairs.write_text((nyu_folder / "nyu_data/data/nyu2_train.csv").read_text())
    arguments = ("--data", "csv", "--data-dir", pairs, "--depth-scale", 25.5, "--validation", 0)
    done = script_inside("train.py", *arguments, "--out", "run", "--epochs", 1, "--batch-size", 9)
    assert "18 training frames" in done.stdout
    assert "--validation 0: no frames were held out of the csv, so nothing is scored." in done.stdout
    assert "predict.py photo.jpg --checkpoint run/best.pt" in done.stdout
    # Validation that begins later judges anew.
    script_inside("train.py", "--resume", "run", "--validation", 0.2, "--epochs", 2)
    about = torch.load(tmp_path / "run" / "best.pt", weights_only=True)["about"]
    assert about["epoch"] == 2 and "rmse_m" in about["validation"]


def test_half_precision_from_the_first_step_to_the_score_and_across_types(
    script_inside: Script, nyu_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    common = ("--limit", 2, "--batch-size", 2, "--ema", 0.9, "--swa", 0.01, "--device", "cpu")
    script_inside("train.py", "--data-dir", nyu_folder, "--out", run, *common, "--epochs", 1, "--amp", "fp16")
    content = torch.load(run / "last.pt", weights_only=True)
    assert content["progress"]["scaler"]["scale"] > 0
    assert content["swa"] and content["progress"]["swa"]["n_averaged"] == 1  # the smallest share is one step
    result = json.loads((run / "evaluation-nyu-test.json").read_text())
    assert result["precision"] == "float32"
    assert result["device"].endswith("threads")
    for epochs, amp in ((2, "bf16"), (3, "fp16")):
        done = script_inside("train.py", "--resume", run, "--epochs", epochs, "--amp", amp)
        assert "not bit for bit" in done.stdout
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(np.isfinite(line["train_loss"]) for line in lines)


def test_machines_that_found_unlike_data_stop(
    nyu_folder: Path, tmp_path: Path, offline: dict[str, str], unused_port: int
) -> None:
    """One has NYU in kagglehub's cache; the other would train on rooms, with gradients of both in each step."""
    version = tmp_path / "kagglehub" / "datasets" / "soumikrakshit" / "nyu-depth-v2"
    (version / "versions").mkdir(parents=True)
    (version / "1.complete").touch()
    nyu_folder.rename(version / "versions" / "1")
    machines = []
    for rank in (0, 1):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": unused_port, "WORLD_SIZE": 2, "RANK": rank}
        environment = {**os.environ, **offline, **{key: str(value) for key, value in place.items()}}
        environment |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "OMP_NUM_THREADS": "1"}
        if rank == 0:
            environment["KAGGLEHUB_CACHE"] = str(tmp_path / "kagglehub")
        command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--limit", "4", "--device", "cpu"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        machines.append(subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes))
    for machine in machines:
        _, said = machine.communicate(timeout=200)
        assert machine.returncode == 2, said
        (line,) = (line for line in said.splitlines() if line.startswith("error: "))
        assert "got different data" in line
        assert "process 0: nyu, 4 frames" in line and "process 1: rooms, 4 frames" in line
    assert not (tmp_path / "runs").exists()


MISTAKES = {
    "no data there": (["--data-dir", "nowhere"], "no NYU there"),
    "not a number": (["--lr", "abc"], "got 'abc', expected a number above 0"),
    "unknown encoder": (["--encoder", "efficientnet_z9", "--data-dir", "{nyu}"], "did you mean"),
    "unwritable out": (["--out", "{file}/run", "--data-dir", "{nyu}"], "cannot be written"),
    "missing preset": (["--preset", "no.yaml"], "no such file"),
    "misspelt preset key": (["--preset", "{preset}"], "unrecognized arguments: --epocs=3"),
    "missing checkpoint": (["--resume", "no.pt"], "no such checkpoint"),
    "all frozen": (["--freeze", "7", "--data-dir", "{nyu}"], "--freeze 7: the encoder has 7 stages"),
    "no csv": (["--data", "csv"], "expected a csv file"),
    "nothing to resume": (["--resume", "auto"], "no run in runs/ to resume"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_line_and_leaves_nothing(
    script_inside: Script, nyu_folder: Path, tmp_path: Path, mistake: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "preset.yaml").write_text("epocs: 3\n")
    places = {"nyu": nyu_folder, "file": tmp_path / "file", "preset": tmp_path / "preset.yaml"}
    arguments, message = MISTAKES[mistake]
    before = sorted(tmp_path.rglob("*"))
    done = script_inside("train.py", *(argument.format(**places) for argument in arguments), status=2)
    assert message.lower() in done.stderr.lower()
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_an_epoch_without_a_step_is_refused(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    arguments = ("--accumulate", 9, "--batch-size", 4, "--limit", 8, "--data-dir", nyu_folder, "--out", "run")
    done = script_inside("train.py", *arguments, status=2)
    assert "--accumulate 9: an epoch has 2 batches, so no step would be made" in done.stderr
    assert not (tmp_path / "run").exists()


def write_csv(folder: Path, damage: str) -> Path:
    """Six good pairs in metres x 1000, then spoilt."""
    for number in range(6):
        image, depth_m = wavy_frame(number, 48, 64)
        Image.fromarray(image).save(folder / f"{number}.jpg")
        write_depth(folder / f"{number}.png", depth_m, 1000, 16)
        if damage == "normalised depth":
            write_depth(folder / f"{number}.png", depth_m, 65535 / depth_m.max(), 16)
    if damage == "missing file":
        (folder / "2.png").unlink()
    elif damage == "truncated image":
        (folder / "2.jpg").write_bytes((folder / "2.jpg").read_bytes()[:700])
    elif damage == "wrong size":
        write_depth(folder / "2.png", np.ones((48, 60)), 1000, 16)
    path = folder / "pairs.csv"
    path.write_text("".join(f"{number}.jpg,{number}.png\n" for number in range(6)))
    return path


MEND = "Fix them, or allow more. The last: "
DAMAGES = {
    "missing file": "2.png: got no such file, expected an image",
    "truncated image": "2.jpg: got a damaged or unreadable image",
    "wrong size": "2.png: got depth of 60x48 pixels, expected 64x48",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_frame_is_named_once_and_left_out(script_inside: Script, tmp_path: Path, damage: str) -> None:
    arguments = ("--data", "csv", "--data-dir", write_csv(tmp_path, damage), "--epochs", 2, "--cache-dir", "c")
    done = script_inside("train.py", *arguments, "--out", "run", "--batch-size", 2)
    (line,) = (line for line in done.stderr.splitlines() if DAMAGES[damage] in line)
    assert line.endswith("The frame is left out.")
    assert "4 training frames" in done.stdout
    again = script_inside("train.py", *arguments, "--out", "again", "--batch-size", 2)
    assert again.stderr.count(DAMAGES[damage]) == 1


def test_a_bad_frame_is_left_out_of_the_evaluation_too_and_that_is_said(script_inside: Script, tmp_path: Path) -> None:
    path = write_csv(tmp_path, "none")
    (tmp_path / "4.png").write_bytes(b"")
    arguments = ("--data", "csv", "--data-dir", path, "--validation", 0.5, "--epochs", 1, "--out", "run")
    done = script_inside("train.py", *arguments)
    assert "1 frames of the list could not be read" in done.stdout
    result = json.loads((tmp_path / "run" / "evaluation-csv-val.json").read_text())
    assert (result["count"], result["left_out"]) == (2, ["4.jpg"])
    names = [line.split(",")[0] for line in (tmp_path / "run" / "evaluation-csv-val.csv").read_text().splitlines()]
    assert names == ["image", "3.jpg", "5.jpg"]
    refused = script_inside("evaluate.py", "run/best.pt", "--split", "val", "--max-bad", 0, status=2)
    assert "At least 1 of 3 frames cannot be used, and --max-bad allows 0." in refused.stderr


REFUSALS = {
    **{damage: f"At least 1 of 5 frames cannot be used, and --max-bad allows 0. {MEND}" for damage in DAMAGES},
    "normalised depth": "got depth that was normalised per image",
}


@pytest.mark.parametrize("damage", REFUSALS)
def test_one_bad_frame_too_many_costs_one_line_and_leaves_nothing(
    script_inside: Script, tmp_path: Path, damage: str
) -> None:
    path = write_csv(tmp_path, damage)
    before = sorted(tmp_path.rglob("*"))
    arguments = ("--data", "csv", "--data-dir", path, "--epochs", 1, "--cache-dir", "c", "--max-bad", 0)
    done = script_inside("train.py", *arguments, status=2)
    errors = [line for line in done.stderr.splitlines() if line and "img" not in line]
    assert len(errors) == 1
    assert REFUSALS[damage] in errors[0]
    assert DAMAGES.get(damage, "") in errors[0]
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] in ([], [tmp_path / "c"])


def test_a_run_is_never_overwritten(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_text("precious")
    done = script_inside("train.py", "--data-dir", nyu_folder, "--out", tmp_path / "run", status=2)
    assert "holds a run already" in done.stderr
    assert (tmp_path / "run" / "last.pt").read_text() == "precious"


def test_auto_without_data_and_network_trains_on_rooms(script: Script, tmp_path: Path) -> None:
    done = script("train.py", "--limit", 4, "--epochs", 1, "--batch-size", 2)
    assert "DATA: generated ROOMS" in done.stdout
    assert "no NYU on this machine" in done.stdout
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("-rooms")
    assert json.loads((run / "evaluation-rooms-test.json").read_text())["trained_on"] == "rooms"
    refused = script("train.py", "--data", "nyu", status=2)
    assert "error: --data nyu: no NYU on this machine" in refused.stderr


def test_a_real_encoder_of_another_name_without_its_hub(
    script_inside: Script, nyu_folder: Path, tmp_path: Path
) -> None:
    tiny = ("--data-dir", nyu_folder, "--limit", 2, "--epochs", 1, "--batch-size", 2)
    refused = script_inside("train.py", "--encoder", "efficientnet_b0", "--out", tmp_path / "run", *tiny, status=2)
    assert "its ImageNet weights could not be had" in refused.stderr
    assert not (tmp_path / "run").exists()
    script_inside("train.py", "--encoder", "efficientnet_b0", "--no-pretrained", "--out", tmp_path / "run", *tiny)
    script_inside("evaluate.py", tmp_path / "run" / "best.pt", "--limit", 2)


def test_a_run_with_little_time_makes_one_step_and_says_how_to_go_on(
    script_inside: Script, nyu_folder: Path, tmp_path: Path
) -> None:
    limits = ("--limit", 4, "--epochs", 2, "--batch-size", 2, "--max-minutes", "0.001")
    done = script_inside("train.py", "--data-dir", nyu_folder, "--out", tmp_path / "run", *limits)
    assert "stopped by --max-minutes. All is saved; go on with:" in done.stdout
    assert f"--resume {tmp_path / 'run' / 'last.pt'} --max-minutes 0.001" in done.stdout
    assert not list((tmp_path / "run").glob("evaluation*"))
    script_inside("train.py", "--resume", tmp_path / "run" / "last.pt")
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2]
    assert list((tmp_path / "run").glob("evaluation*.json"))


def test_a_run_that_torchrun_may_restart_wants_a_name(script_inside: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert "name the run's folder with --out" in script_inside("train.py", status=2).stderr


def test_a_changed_batch_begins_the_epoch_anew_and_another_machine_is_told(
    script_inside: Script, nyu_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = ("--data-dir", nyu_folder, "--limit", 4, "--epochs", 1, "--max-minutes", "0.001")
    script_inside("train.py", "--out", "run", "--batch-size", 2, *tiny)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        done = script_inside("train.py", "--resume", "run", "--batch-size", 1)
    finally:
        torch.set_num_threads(threads)
    assert "resumed after epoch 0 and 1 batches" in done.stdout
    assert "now 4 frames in batches of 1, seed 0, before 4 frames in batches of 2" in done.stdout
    assert "correctly, but not bit for bit" in done.stdout
    (line,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert line["step"] == 1 + 4


def test_the_cache_being_warm_or_cold_does_not_matter(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    for name in ("cold", "warm"):
        arguments = ("--limit", 4, "--epochs", 1, "--batch-size", 2, "--cache-dir", tmp_path / "cache")
        script_inside("train.py", "--data-dir", nyu_folder, "--out", name, *arguments)
    cold, warm = (torch.load(tmp_path / name / "last.pt", weights_only=True)["sha256"] for name in ("cold", "warm"))
    assert cold == warm


def test_a_damaged_newest_state_costs_one_save(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    arguments = ("--limit", 4, "--batch-size", 2, "--data-dir", nyu_folder)
    script_inside("train.py", "--epochs", 2, "--out", "run", *arguments)
    newest = tmp_path / "run" / "last.pt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    done = script_inside("train.py", "--resume", newest, "--epochs", 3)
    assert "last.pt: refused, it is damaged" in done.stdout
    assert "resumed after epoch 1" in done.stdout
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]


def test_a_run_whose_losses_are_not_finite_ends_with_the_frames_names(
    script_inside: Script, nyu_folder: Path, tmp_path: Path
) -> None:
    arguments = ("--limit", 4, "--batch-size", 1, "--data-dir", nyu_folder, "--checkpoint-every", 1)
    fatal = ("--lr", "1e30", "--warmup", 0, "--optimizer", "adamw", "--epochs", 9)
    done = script_inside("train.py", "--out", "run", *arguments, *fatal, status=2)
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "loss or gradient was not finite in 25 steps in a row, the last time on data/nyu2_train/office_" in error
    assert "3 steps skipped" in done.stdout
    assert sorted(path.name for path in (tmp_path / "run").glob("*.pt")) == ["last.pt"]  # of the first step
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["progress"]["batch"] == 1


def test_a_full_disk_ends_a_run_with_one_line_and_it_goes_on_when_there_is_room(
    script_inside: Script, nyu_folder: Path, tmp_path: Path, small_disk: SmallDisk
) -> None:
    disk = small_disk(190_000_000)  # room for one state and the best weights, and for half of the next
    arguments = ("--limit", 4, "--batch-size", 2, "--data-dir", nyu_folder, "--out", disk / "run", "--epochs", 3)
    done = script_inside("train.py", *arguments, status=2)
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "cannot be written (No space left on device)" in error
    assert "Traceback" not in done.stderr
    assert not list((disk / "run").glob(".*"))
    subprocess.run(["mount", "-o", "remount,size=400000000", disk], check=True)
    done = script_inside("train.py", "--resume", disk / "run")
    assert "resumed after epoch" in done.stdout
    epochs = [json.loads(line)["epoch"] for line in (disk / "run" / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]


def test_an_swa_run_leaves_all_three_sets_of_weights(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny = ("--limit", 8, "--epochs", 2, "--batch-size", 2, "--swa", "0.5")
    done = script_inside("train.py", "--data-dir", nyu_folder, "--out", run, *tiny)
    assert "SWA  val_loss" in done.stdout
    content = torch.load(run / "last.pt", weights_only=True)
    assert content["about"]["weights"] == "swa"
    raw, ema, swa = (content[name]["output.0.weight"] for name in ("network", "ema", "swa"))
    assert not torch.equal(raw, swa)
    assert not torch.equal(ema, swa)
    for which in ("raw", "ema", "swa"):
        script_inside("evaluate.py", run / "last.pt", "--weights", which, "--json", f"{which}.json", "--limit", 2)
    results = {which: json.loads((tmp_path / f"{which}.json").read_text()) for which in ("raw", "ema", "swa")}
    assert {which: result["weights"] for which, result in results.items()} == {which: which for which in results}
    assert len({result["protocols"]["eigen"]["rmse_m"] for result in results.values()}) == 3
