"""`python -m profiles.matching RECORDS.csv --out PROFILES.csv`: unify a file without starting the platform."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from profiles.matching.files import BadFile, fresh_files, unify_file, write_profiles, write_review


def add_arguments(parser: ArgumentParser) -> None:
    """What `manage.py unify_file` takes as well."""
    parser.add_argument("records", type=Path, help="CSV: record_id and any columns of persons")
    parser.add_argument("--out", type=Path, required=True, help="where to write record_id,profile_id")
    parser.add_argument("--review", type=Path, help="where to write the pairs that wait for somebody")
    parser.add_argument(
        "--automatic", type=Path, help="where to write what is merged without asking, like --out"
    )
    parser.add_argument("--language", default="fr", choices=["fr", "en"], help="of the sentences in --review")


def run(records: Path, out: Path, review: Path | None, automatic: Path | None, language: str) -> str:
    """Unify and write; the report to print. BadFile or OSError where that cannot be, and then nothing is written."""
    with fresh_files(records, *filter(None, (out, automatic, review))) as (of_all, *more):
        unified = unify_file(records)
        write_profiles(unified, of_all)
        if automatic:
            write_profiles(unified, more[0], automatic=True)
        if review:
            write_review(unified, more[-1], language)
    found = unified.resolution
    seconds = ", ".join(f"{stage} {spent:.2f}" for stage, spent in unified.seconds.items())
    texts = f"\ncompared as texts: {', '.join(unified.texts)}" if unified.texts else ""
    cut = f"\nblocks too large to be used: {sum(found.skipped.values())}" if found.skipped else ""
    return (
        f"{len(unified.record_ids)} records, {unified.profiles} profiles, {len(found.review)} pairs to review\n"
        f"read as {unified.written}{texts}\n"
        f"seconds: {seconds}{cut}"
    )


def main(arguments: Sequence[str] | None = None, program: str = "python -m profiles.matching") -> int:
    """0 done, 1 the file is no good."""
    parser = ArgumentParser(prog=program, description=__doc__)
    add_arguments(parser)
    given = parser.parse_args(arguments)
    try:
        sys.stdout.write(run(given.records, given.out, given.review, given.automatic, given.language) + "\n")
    except (BadFile, OSError) as trouble:
        sys.stderr.write(f"{trouble}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
