"""Losses, optimiser, training loop, checkpoints, run log, processes."""
