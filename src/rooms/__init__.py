"""Endless furnished rooms, rendered from a seed: scenes, materials, light, a camera with its film."""
