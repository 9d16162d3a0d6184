"""Depth from one photo: the map of the house. Imports go strictly downward.

scripts        the story: parse, build, run, report; only they know every wing
-------------  ------------------------------------------------------------------
src.network    photo -> depth: encoder, three BiFPN decoders, inception, output
src.data       files and generated rooms -> batches of photo, depth and mask
src.training   losses, measures, optimiser, the loop, checkpoints, the run's log
src.viewing    arrays -> pictures, films, point clouds, 3-D recordings
-------------  ------------------------------------------------------------------
src.conventions    sizes, the depth range, the camera, the user's error
src.files          files that appear whole or not at all

The four wings do not import one another: the loop receives a module and batches,
the pictures receive arrays. `tests/test_floors.py` enforces this map.
"""
