"""Which run to train: a new one, or an earlier one from its newest checkpoint; and the command that resumes it."""

import contextlib
import itertools
import math
import os
import shlex
import subprocess
import sys
from argparse import Namespace
from datetime import datetime
from pathlib import Path
from typing import Any

from src.cli.network import known_folder
from src.cli.parsing import ROOT, Parser, read_preset
from src.cli.sources import count_known
from src.conventions import Pairs, UserError
from src.training import distributed
from src.training.checkpoint_manager import NEWEST, find_newest, load_newest
from src.training.run_log import check_run_folder
from src.training.state import State

RUNS = Path("runs")
FIXED: tuple[str, ...] = ("encoder", "target", "max_depth", "output")  # what a checkpoint predicts
FIXED += ("optimizer", "lr", "encoder_lr_scale", "weight_decay", "schedule", "warmup", "freeze")  # its optimiser
FIXED += ("loss", "ema")  # its lowest validation loss, its average


def choose_run(parser: Parser, typed: Namespace) -> tuple[Namespace, dict[str, Any] | None]:
    """Read defaults < preset, or the resumed run's options, < command line; load the checkpoint to resume, if any."""
    argv, resume = sys.argv[1:], typed.resume
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")):
        resume = resume or "auto"  # torchrun restarted all processes, since one of them died
    path = find_resumable(resume, typed.out)
    if path is None:
        options, resumed = parser.parse_over(read_preset(typed.preset), argv), None
        if options.out is None and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
            raise UserError("torchrun --max-restarts: name the run's folder with --out, to find it after a restart.")
        if options.out and find_newest(options.out):
            raise UserError(
                f"--out {options.out}: holds a run already. Resume it with --resume auto, or name another folder."
            )
    else:
        resumed = load_newest(path)
        if "progress" not in resumed:
            raise UserError(f"--resume {path}: holds weights, but no optimiser state. Take the last.pt beside it.")
        trained = parser.known(resumed["about"]["options"])
        folder = None if typed.data_dir else known_folder(trained)
        options = parser.parse_over({**trained, "data_dir": folder and str(folder)}, argv)
        for name in sorted(options.typed.intersection(FIXED)):
            if (got := getattr(options, name)) != (expected := trained.get(name, got)):
                raise UserError(
                    f"--resume {path}: got --{name.replace('_', '-')} {got}, expected the run's own, {expected}. "
                    "Leave it out, or start a new run, from these weights with --init."
                )
        if options.out and options.out.resolve() != path.parent.resolve():
            raise UserError(f"--resume {path}: got --out {options.out}, expected the run's own folder. Leave it out.")
        options.out = path.parent
        if options.typed & {"preset", "init"}:
            print(f"resuming {path}, with that run's own options: --preset and --init have no effect", flush=True)
    check_run_folder(options.out or RUNS)
    return options, resumed


def make_run_folder(kind: str) -> Path:
    """Make the folder of a new run on this kind of data, once for all processes, and for no other run.

    Called when training begins, so that no mistake leaves an empty folder.

    **Raises**: UserError when the disk refuses.
    """
    folder = RUNS / f"{datetime.now():%Y%m%d-%H%M%S}-{kind}"
    names = itertools.chain([folder.name], (f"{folder.name}-{number}" for number in itertools.count(2)))
    while distributed.is_first():
        folder = RUNS / next(names)
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:  # a run that started in the same second
            continue
        except OSError as error:
            raise UserError(f"{folder}: cannot be created ({error.strerror}). Name a folder with --out.") from None
    return distributed.broadcast(folder)


def find_resumable(resume: str | None, out: Path | None) -> Path | None:
    """Find the checkpoint that `--resume` means; None to start a new run."""
    if resume is None:
        return None
    if resume != "auto":
        return Path(resume) / NEWEST if Path(resume).is_dir() else Path(resume)
    found = [newest for folder in ([out] if out else RUNS.glob("*")) if (newest := find_newest(folder))]
    if not found and out is None:
        raise UserError(
            f"--resume auto: no run in {RUNS}/ to resume. Leave it out, or name the run's folder with --out."
        )
    if not found:
        print(f"nothing to resume in {out}: starting a new run", flush=True)
        return None
    return max(found, key=lambda path: path.stat().st_mtime).with_name(NEWEST)


def restore(state: State, resumed: dict[str, Any], facts: dict[str, Any], held_out: Pairs | None) -> None:
    """Restore the saved state, and print what differs from the machine and the batches it was saved with.

    **Raises**: UserError when frames that were trained on are held out now.
    """
    state.restore(resumed)
    about = resumed["about"]
    if held_out and (count := count_known(about, held_out)):
        raise UserError(
            f"--resume: {count} of the {len(held_out)} frames held out now were trained on. "
            "Restore the list of frames and --validation, or start a new run."
        )
    if about.get("held_out", facts["held_out"]) == facts["held_out"]:  # not recorded before
        facts |= {key: about[key] for key in ("weights", "validation")}
    elif state.epoch:
        print("other frames are held out now: the best epoch is chosen from the next ones")
        state.best, state.lowest, state.waited = math.inf, math.inf, 0
    print(f"resumed after epoch {state.epoch}" + (f" and {state.batch} batches" if state.batch else ""))
    if state.batch and about["plan"] != facts["plan"]:
        print(f"now {facts['plan']}, before {about['plan']}: the epoch restarts")
        state.begin_epoch()
    if about["machine"] != facts["machine"]:
        print(
            f"now on {facts['machine']}, before on {about['machine']}: "
            "the results are equally valid, but not bit for bit those of that machine"
        )


def resume_hint(options: Namespace) -> str:
    """Write the command that resumes a run that was stopped."""
    if options.out is None or find_newest(options.out) is None:
        return " before anything was saved"
    world, local = distributed.world_size(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    flags = f"--nproc-per-node {local}" if world == local else "(with its flags as before)"
    limit = ["--max-minutes", f"{options.max_minutes:g}"] if options.max_minutes else []
    command = script_command("train.py", "--resume", options.out / NEWEST, *limit)
    return f". Everything is saved; resume with:\n  {'python' if world == 1 else f'torchrun {flags}'} {command}"


def script_command(script: str, *arguments: object) -> str:
    """Write a script's path and arguments as they are typed in this folder, in this system's shell."""
    path = ROOT / "scripts" / script
    with contextlib.suppress(ValueError):  # on another drive of Windows, no relative path leads there
        path = Path(os.path.relpath(path))
    return shell_line(path, *arguments)


def shell_line(*words: object) -> str:
    """Quote a command as this system's shell needs it."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if sys.platform == "win32" else shlex.join(texts)
