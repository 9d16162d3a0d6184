"""Code compiled by numba: intersections, shadows, patterns, light, JPEG."""
