"""Losses, measures, optimiser, the loop, checkpoints, the run's log."""
