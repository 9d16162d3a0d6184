"""Print what the loader reads: counts, sizes, depths in metres, problems; draw frames and their augmentation.

python scripts/inspect_data.py --data nyu --data-dir path/to/nyu
"""

from _root import run

from src.cli.options import parse_inspection

if __name__ == "__main__":
    parse_inspection(__doc__)  # --help and usage errors are answered before the imports that take seconds

from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src.choices import SPLITS
from src.cli.data import announce, bar_options, open_data
from src.conventions import Pairs, UserError
from src.data.augment import Augmentation
from src.data.examples import augmented_examples
from src.data.listing import sample_frames
from src.data.survey import Survey, survey
from src.files import check_file
from src.viewing.figures import draw_augmentation, draw_contact_sheet

PROBLEMS_SHOWN = 10
SCENES_SHOWN = 5
FRAMES_SHOWN = 24
AUGMENTED_SHOWN = 4
EPOCHS_SHOWN = 3


def main() -> None:
    options = parse_inspection(__doc__)
    check_file(options.out)
    data = open_data(options, options.max_depth)
    shown = []
    broken = 0
    for split in SPLITS:
        if split == "val" and not data.holds_out:
            continue
        try:
            pairs = data.open(split, options.limit)
        except UserError as error:
            print(f"\n{split}: {error}")
            broken += 1
            continue
        announce(pairs)
        found = survey(pairs, partial(tqdm, desc=f"reading {split}", **bar_options()))
        print(format_survey(split, found))
        broken += len(found.problems)
        for name, frame in sample_frames(pairs, FRAMES_SHOWN // len(SPLITS)):
            shown.append((name, frame.image, frame.depth_m * frame.valid))
        if split == "train":
            show_augmentation(pairs, options.max_depth, options.out.with_name(f"{options.out.stem}-augmentation.png"))
    if shown:
        draw_contact_sheet(shown, options.out)
        print(f"\ncontact sheet  {options.out}")
    if broken:
        raise UserError(f"{broken} problems, named above. Fix or remove those files.")


def show_augmentation(pairs: Pairs, max_depth_m: float, path: Path) -> None:
    """Draw some training frames before and after the augmentation, all of its parts at their full ranges."""
    limits = {"count": AUGMENTED_SHOWN, "epochs": EPOCHS_SHOWN, "max_depth_m": max_depth_m}
    try:
        examples, aspect = augmented_examples(pairs, Augmentation(), **limits)
    except UserError as error:
        print(f"  augmentation    not drawn: {error}")
        return
    draw_augmentation(examples, path, aspect=aspect)
    print(f"  augmentation    {path}")


def format_survey(split: str, found: Survey) -> str:
    """Describe a survey over several lines."""
    scenes = found.scenes.most_common(SCENES_SHOWN)
    lines = [
        f"\n{split}: {found.frames} frames of {len(found.scenes)} scenes",
        "  largest scenes  " + ", ".join(f"{name} {count}" for name, count in scenes),
        "  frame size      " + ", ".join(f"{w}x{h} px: {count}" for (w, h), count in found.sizes_px.most_common()),
        f"  valid depth     {found.valid:.1%} of the pixels",
        "  depth in metres " + "  ".join(f"{name} {value:.2f}" for name, value in found.depth_m.items()),
        *(
            f"  {'mean map, metres' if row == 0 else '':16}" + "".join(f"{value:6.2f}" for value in values)
            for row, values in enumerate(found.mean_map_m)
        ),
        f"  camera height   {describe_heights(found)}",
        f"  problems        {len(found.problems) or 'none'}",
        *(f"    {problem}" for problem in found.problems[:PROBLEMS_SHOWN]),
    ]
    if len(found.problems) > PROBLEMS_SHOWN:
        lines.append(f"    and {len(found.problems) - PROBLEMS_SHOWN} more")
    return "\n".join(lines)


def describe_heights(found: Survey) -> str:
    """Describe the camera's height, estimated where a frame shows its floor."""
    if not found.heights_m:
        return "unknown: no frame shows its floor"
    percentiles = "  ".join(f"p{p} {np.percentile(found.heights_m, p):.2f} m" for p in (5, 50, 95))
    return f"{percentiles}, in the {len(found.heights_m)} frames that show their floor"


if __name__ == "__main__":
    run(main)
