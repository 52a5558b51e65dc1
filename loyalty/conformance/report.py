"""Run the rules against a server, and say of each whether it was kept."""

import argparse
import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TextIO
from urllib.parse import urlsplit

from loyalty.conformance.kit import Kit
from loyalty.conformance.rules import RULES
from loyalty.conformance.wire import Broken, Exchange, NotApplicable, Till

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
LAST = 3  # exchanges shown of a rule that was broken
ABOUT = (
    "Check that a server keeps the contract of the till API. It leaves invented members and tickets behind."
)


@dataclass
class Result:
    """Of one rule; `why` where it did not pass, `said` what was sent and answered last."""

    rule: str
    outcome: str
    ms: int
    why: str = ""
    said: list[Exchange] = field(default_factory=list)


def text_of(name: str) -> tuple[str, str]:
    """The rule, and what a till's software makes of it."""
    told, _blank, advice = (inspect.getdoc(RULES[name]) or "").partition("\n\n")
    return told, advice


def check(till: Till, second: Till | None = None, names: Sequence[str] = ()) -> Iterator[Result]:
    """Try the rules one after the other, all unless some are named."""
    kit = Kit(till, second)
    for name in names or RULES:
        till.said.clear()
        start, outcome, why = perf_counter(), PASSED, ""
        try:
            RULES[name](kit)
        except NotApplicable as missing:
            outcome, why = SKIPPED, str(missing)
        except Broken as broken:
            outcome, why = FAILED, str(broken)
        except (KeyError, TypeError, IndexError) as missing:
            outcome, why = FAILED, f"the answer has not the documented shape: {missing!r}"
        ms = round(1000 * (perf_counter() - start))
        yield Result(name, outcome, ms, why, till.said[-LAST:] if outcome == FAILED else [])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="root of the API, e.g. https://brand.example/api/v1")
    parser.add_argument("--key", help="a till's key")
    parser.add_argument("--second-key", default="", help="the key of another till of the same brand")
    parser.add_argument("--only", action="append", default=[], metavar="RULE", help="this rule (repeatable)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--list", action="store_true", help="print the rules and leave")


def run(options: argparse.Namespace, out: TextIO) -> int:
    """What the command line does; returns its exit code: 1 where a rule was broken, 2 for a wrong use."""
    if options.list:
        for name in RULES:
            told, advice = text_of(name)
            out.write(f"{name}\n    {told}\n    {advice}\n")
        return 0
    unknown = [name for name in options.only if name not in RULES]
    if unknown or not options.url or not options.key or not urlsplit(options.url).hostname:
        out.write(f"no such rule: {', '.join(unknown)}\n" if unknown else "give --url and --key\n")
        return 2
    url = options.url.rstrip("/")
    second = Till(url, options.second_key) if options.second_key else None
    results = []
    for result in check(Till(url, options.key), second, options.only):
        results.append(result)
        if not options.json:
            _print(result, out)
    counted = {word: sum(r.outcome == word for r in results) for word in (PASSED, FAILED, SKIPPED)}
    if options.json:
        rules = [
            {"rule": r.rule, "outcome": r.outcome, "ms": r.ms, "why": r.why, "said": [str(each) for each in r.said]}
            for r in results
        ]  # fmt: skip
        out.write(json.dumps({**counted, "rules": rules}, ensure_ascii=False) + "\n")
    else:
        out.write(", ".join(f"{number} {word}" for word, number in counted.items()) + "\n")
    return 1 if counted[FAILED] else 0


def _print(result: Result, out: TextIO) -> None:
    mark = {PASSED: "✓", FAILED: "✗", SKIPPED: "–"}[result.outcome]
    told, advice = text_of(result.rule)
    out.write(f"{mark} {result.rule:<28}{told}\n")
    if result.why:
        out.write(f"  {result.why}\n")
    for exchange in result.said:
        out.write("".join(f"    {line}\n" for line in str(exchange).splitlines()))
    if result.outcome == FAILED and advice:
        out.write(f"  {advice}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loyalty.conformance", description=ABOUT)
    add_arguments(parser)
    return run(parser.parse_args(arguments), sys.stdout)
