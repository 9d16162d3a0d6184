"""Predictions against the truth: metrics by protocol, results of a network, several runs side by side."""
