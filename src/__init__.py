"""Depth from one photo: the map of the packages. Imports go strictly downward.

scripts, notebooks   parse, build, run, report
-------------------  ------------------------------------------------------------------------
src.cli              what scripts share: options, presets, data and networks, resume, the report
src.benchmarks       speed, beside other networks and the original's recipe
src.estimator        the public API: photo in, metres out
-------------------  ------------------------------------------------------------------------
src.network          photo -> depth: encoder, three BiFPN decoders, inception, output; weights
src.rooms            generated rooms: scenes, materials, light, camera, compiled kernels
src.data             files -> batches: NYU, csv, packing, augmentation, photos and videos
src.training         losses, optimiser, the loop, state and checkpoints, processes
src.scoring          metrics by protocol, results, several runs side by side
src.viewing          arrays -> pictures, videos, point clouds, 3-D recordings
-------------------  ------------------------------------------------------------------------
src.conventions      sizes, the depth range, the camera, frames and batches, the user's error
src.choices          the values that options take
src.files            atomic writes
src.ssim             structural similarity, of training and scoring

The packages of the middle layer do not import one another: the loop receives a module and
batches, the pictures receive arrays. `tests/test_layers.py` enforces this map.
"""
