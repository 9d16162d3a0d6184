"""What benchmark.py measures: this repository and what one might use instead, in one run."""
