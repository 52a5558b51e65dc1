"""What came of an import: the numbers that reconcile, and the rejected rows as a file to mend."""

import csv
from typing import TextIO

from django.db.models import Q

from profiles.imports.detect import Unreadable, detect
from profiles.imports.files import kept
from profiles.imports.reading import WHOLE_LINE
from profiles.imports.spreadsheet import guarded
from profiles.models import ImportRun, MatchCandidate, Merge, SourceRecord

VERDICTS = ("created", "corrected", "unchanged", "rejected")


def numbers(import_run: ImportRun) -> dict[str, int]:
    """What came of the rows, which adds up to `received`; and, of the people in them, how many were merged since the
    import began and how many pairs wait for a decision (both grow while matching goes on)."""
    people = SourceRecord.objects.filter(import_run=import_run).values("profile")
    merges = Merge.objects.filter(undone_at=None, at__gte=import_run.started_at, winner__in=people)
    pairs = MatchCandidate.objects.filter(Q(left__in=people) | Q(right__in=people), status="open")
    return {
        "received": import_run.received,
        **{word: getattr(import_run, word) for word in VERDICTS},
        "merged": merges.count(),
        "to_review": pairs.count(),
    }


def write_errors(import_run: ImportRun, stream: TextIO) -> int:
    """The rejected rows as they stood in the file, with `ligne` and `erreur` behind: mended, it can be taken in again.

    Comma-separated values with `;`. Cells that a spreadsheet would run as a formula get an apostrophe before them.
    Returns the number of rows.
    """
    header = _header_of(import_run)
    writer = csv.writer(stream, delimiter=";")
    writer.writerow([*map(_harmless, header), "ligne", "erreur"])
    written = 0
    for row in import_run.rejects.order_by("line").iterator():
        reason = f"{row.column}: {row.reason}" if row.column else row.reason
        if whole := row.raw.get(WHOLE_LINE):
            # Its cells stand under the wrong columns, or behind the last one: here nothing of it is lost.
            reason = f"{reason} ({whole})"
        cells = [_harmless(row.raw.get(column, "")) for column in header]
        writer.writerow([*cells, row.line, _harmless(reason)])
        written += 1
    return written


def _header_of(import_run: ImportRun) -> list[str]:
    """The columns in the order of the file."""
    if import_run.columns:
        return list(import_run.columns)
    try:
        path = kept(import_run.file_hash)
        return list(detect(path, charset=import_run.charset, delimiter=import_run.delimiter).header)
    except (OSError, Unreadable):
        return sorted(import_run.mapping)


def _harmless(text: str) -> str:
    number = text.lstrip("+-").replace(" ", "").replace(".", "").replace(",", "").isdigit()
    # A number computes nothing, and a telephone number must come back as it left.
    return text if number else guarded(text)
