"""Which run it is: a new one or one to go on with, from which weights; and how to go on with it later."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import Namespace
from datetime import datetime
from pathlib import Path
from typing import Any

from src.cli.network import known_folder
from src.cli.parsing import ROOT, Parser, read_preset
from src.conventions import UserError
from src.network import DepthNet, rebuild
from src.training import checkpoint, distributed
from src.training.checkpoint_manager import NEWEST, find_newest, load_newest
from src.training.run_log import check_writable
from src.training.state import State

RUNS = Path("runs")


def choose_run(parser: Parser, typed: Namespace) -> tuple[Namespace, dict[str, Any] | None]:
    """Read defaults < preset, or the resumed run's options, < command line; load what to go on from, if anything."""
    argv, resume = sys.argv[1:], typed.resume
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")):
        resume = resume or "auto"  # one of the processes had died, and torchrun started all of them again
    path = find_resumable(resume, typed.out)
    if path is None:
        options, resumed = parser.parse_over(read_preset(typed.preset), argv), None
        if options.out is None and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
            raise UserError("torchrun --max-restarts: name the run's folder with --out, to find it again.")
        if options.out and find_newest(options.out):
            raise UserError(
                f"--out {options.out}: holds a run already. Go on with it by --resume auto, or name another folder."
            )
    else:
        resumed = load_newest(path)
        if "progress" not in resumed:
            raise UserError(f"--resume {path}: holds weights, but no optimiser state. Take the last.pt beside it.")
        trained = resumed["about"]["options"]
        folder = known_folder(trained)
        options = parser.parse_over({**trained, "data_dir": folder and str(folder)}, argv)
        options.out = path.parent
        if options.typed & {"preset", "init"}:
            print(f"resuming {path}, with that run's own options: --preset and --init have no effect", flush=True)
    check_writable(options.out or RUNS)
    return options, resumed


def name_folder(name: str) -> Path:
    """Name the folder of a new run."""
    return RUNS / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"


def find_resumable(resume: str | None, out: Path | None) -> Path | None:
    """Find the checkpoint that `--resume` means; None to start afresh."""
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


def make_network(options: Namespace, *, resumed: bool) -> DepthNet:
    """Make the network to train, on a checkpoint's weights where `--init` names one.

    **Raises**: UserError when that checkpoint's network is another one, or its numbers mean something else.
    """
    if resumed or options.init is None:
        return DepthNet(options.encoder, pretrained=options.pretrained and not resumed)
    content = checkpoint.load(options.init)
    about = content["about"]
    for flag in ("encoder", "target", "max_depth"):
        held, wanted = about["max_depth_m" if flag == "max_depth" else flag], getattr(options, flag)
        if held != wanted:
            flag = flag.replace("_", "-")
            raise UserError(f"--init {options.init}: got {flag} {held}, expected {wanted}. Add --{flag} {held}.")
    weights, which = checkpoint.choose_weights(content)
    print(f"starting from {options.init} ({which}), trained on {about['data']}", flush=True)
    return rebuild(options.encoder, weights)


def go_on(state: State, resumed: dict[str, Any], facts: dict[str, Any]) -> None:
    """Take back what was saved, and say what is not as it was."""
    state.restore(resumed)
    about = resumed["about"]
    facts |= {key: about[key] for key in ("weights", "validation")}
    print(f"resumed after epoch {state.epoch}" + (f" and {state.batch} batches" if state.batch else ""))
    if state.batch and about["plan"] != facts["plan"]:
        print(f"now {facts['plan']}, before {about['plan']}: the epoch begins anew")
        state.begin_epoch()
    if about.get("machine", facts["machine"]) != facts["machine"]:
        print(
            f"now on {facts['machine']}, before on {about['machine']}: "
            "the run goes on correctly, but not bit for bit as it would have there"
        )


def how_to_go_on(options: Namespace) -> str:
    """Write the command that goes on with a run that was stopped."""
    if options.out is None or find_newest(options.out) is None:
        return " before anything was saved"
    count, here = distributed.world_size(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    flags = f"--nproc-per-node {here}" if count == here else "(with its flags as before)"
    words = [
        "python" if count == 1 else f"torchrun {flags}",
        as_typed("train.py"),
        "--resume",
        shlex.quote(str(options.out / NEWEST)),
    ]
    words += ["--max-minutes", f"{options.max_minutes:g}"] if options.max_minutes else []
    return f". All is saved; go on with:\n  {' '.join(words)}"


def as_typed(script: str) -> str:
    """Write the path of another script as one would type it here."""
    return os.path.relpath(ROOT / "scripts" / script)
