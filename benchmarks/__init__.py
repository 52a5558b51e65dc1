"""What is promised in figures, measured: each module has `measure() -> dict` and prints its figures when run."""
