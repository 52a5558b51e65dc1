"""Cells of files that people open in a spreadsheet, in whatever direction they travel."""

# A spreadsheet runs a cell that begins so as a formula; in some languages the full-width signs count as well.
# A line break may leave the sign behind it at the beginning of a cell, and a NUL is dropped where it stands.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe before one of `FORMULA_STARTS`."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
