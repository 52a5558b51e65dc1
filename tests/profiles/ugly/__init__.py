"""Files as no program should write them, and what must come of each: `corpus.py` is the table, one entry a file."""
