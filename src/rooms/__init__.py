"""Endless furnished rooms, rendered from a seed: scenes, materials, light, camera."""
