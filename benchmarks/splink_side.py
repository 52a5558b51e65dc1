"""The same job done by Splink, as somebody who knows it well would set it up.

    splink_side.py RECORDS OUT LINKS BESIDE

Runs in an environment of its own (`.venv-bench`), never in the product's. Writes `record_id,profile_id` to OUT, then
every scored pair to LINKS, from which the threshold that would have been best is found, and to BESIDE the seconds that
this second part took: they are no part of the job.

One set-up for each schema, told by the columns that are filled. Where its library offers a choice, the one stands here
that did best for Splink; what else was tried is in docs/benchmarks.md.
"""

import sys
import time
from pathlib import Path

import duckdb
import splink.comparison_level_library as cll
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

# The probability above which two records are linked: customary, and that of Splink's own examples.
THRESHOLD = 0.95
# No threshold in its senses goes below; the pairs would only fill the disk.
LOWEST_WEIGHT = -10
# Ten times as many give the same profiles and take ten times as long.
RANDOM_PAIRS = 1_000_000
SEED = 1

PLACEHOLDER_DAYS = "'1900-01-01', '1970-01-01'"
# An e-mail or a phone under more last names than this is nobody's.
MOST_LAST_NAMES = 8

WORDS = (
    "first_name", "last_name", "gender", "street_number", "street", "city", "postcode", "state", "loyalty_number",
    "customer_id", "device_id", "national_id",
)  # fmt: skip

BLOCKS = (
    ("first_name", "last_name"),
    ("last_name", "substr(first_name, 1, 3)"),
    ("birth_date", "first_name"),
    ("birth_date", "last_name"),
    ("birth_date", "postcode"),
    ("birth_date", "substr(first_name, 1, 1)"),
    ("email",),
    ("email_user",),
    ("phone",),
    ("loyalty_number",),
    ("customer_id",),
    ("device_id",),
    ("national_id",),
    ("last_name", "postcode"),
    ("first_name", "postcode"),
    ("last_name", "city"),
    ("street", "street_number"),
)
# Blocks that can be afforded up to a number of rows: each of these two would be half of all pairs among a million.
MORE_BLOCKS = {
    20_000: (("first_name",), ("last_name",), ("birth_date",)),
    200_000: (("first_name", "substr(last_name, 1, 3)"), ("first_name", "city")),
}
NAMES_SWAPPED = "l.first_name = r.last_name AND l.last_name = r.first_name"

# Pairs that are one person nearly always: from their number Splink reckons how many true pairs there are in all.
SURE = (
    ("first_name", "last_name", "birth_date"),
    ("first_name", "email"),
    ("first_name", "phone"),
    ("loyalty_number",),
    ("customer_id",),
    ("national_id",),
)
SHARE_OF_SURE = 0.7
# Blocks of an e-mail or a phone are left out: they are full of households, and EM takes spouses for one person.
TRAINED_ON = (("first_name", "last_name"), ("birth_date",))


def main(records: str, out: str, links: str, beside: str) -> None:
    """Read, train, score, cluster, write."""
    connection = duckdb.connect(":memory:")
    filled, rows = read(connection, records)
    linker = Linker(
        DuckDBAPI(connection=connection).register("people"),
        SettingsCreator(
            link_type="dedupe_only",
            comparisons=comparisons(filled),
            blocking_rules_to_generate_predictions=blocking_rules(filled, rows),
            retain_matching_columns=False,
        ),
    )
    linker.training.estimate_probability_two_random_records_match(
        [block_on(*rule) for rule in SURE if filled.issuperset(rule)], recall=SHARE_OF_SURE
    )
    linker.training.estimate_u_using_random_sampling(max_pairs=RANDOM_PAIRS, seed=SEED)
    for rule in TRAINED_ON:
        linker.training.estimate_parameters_using_expectation_maximisation(block_on(*rule))
    scored = linker.inference.predict(threshold_match_weight=LOWEST_WEIGHT)
    clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(
        scored, threshold_match_probability=THRESHOLD
    )
    write(connection, out, clusters.physical_name, "unique_id AS record_id, cluster_id AS profile_id")

    done = time.perf_counter()
    write(connection, links, scored.physical_name, "unique_id_l, unique_id_r, match_weight")
    Path(beside).write_text(str(time.perf_counter() - done))


def read(connection: duckdb.DuckDBPyConnection, path: str) -> tuple[set[str], int]:
    """The file as table `people`, cleaned as before any linkage; the columns that hold something, and the rows."""
    connection.execute("CREATE TABLE raw AS FROM read_csv(?, all_varchar = true, header = true)", [path])
    digits = "regexp_replace(regexp_replace(phone, '[^0-9+]', '', 'g'), '^(\\+|00)33(0)?', '0')"
    cleaned = {
        word: f"nullif(trim(regexp_replace(lower(strip_accents({word})), '[^a-z0-9]+', ' ', 'g')), '')"
        for word in WORDS
    } | {
        "email": "nullif(trim(lower(email)), '')",
        "phone": f"CASE WHEN len(list_distinct(string_split({digits}, ''))) > 2 THEN {digits} END",
        "birth_date": f"CASE WHEN birth_date NOT IN ({PLACEHOLDER_DAYS}) THEN nullif(birth_date, '') END",
    }
    listed = ", ".join(f"{made} AS {column}" for column, made in cleaned.items())
    connection.execute(f"CREATE TABLE cleaned AS SELECT record_id AS unique_id, {listed} FROM raw")
    for column in ("email", "phone"):
        connection.execute(
            f"UPDATE cleaned SET {column} = NULL WHERE {column} IN (SELECT {column} FROM cleaned"
            f" GROUP BY {column} HAVING count(DISTINCT last_name) > {MOST_LAST_NAMES})"
        )
    connection.execute(
        "CREATE TABLE people AS SELECT *, split_part(email, '@', 1) AS email_user FROM cleaned"
    )
    asked = ", ".join(f"count({c}) >= 0.01 * count(*) AND count(DISTINCT {c}) > 1" for c in cleaned)
    ((rows, *holds),) = connection.execute(f"SELECT count(*), {asked} FROM people").fetchall()
    filled = {column for column, some in zip(cleaned, holds, strict=True) if some}
    return (filled | {"email_user"} if "email" in filled else filled), rows


def comparisons(filled: set[str]) -> list:
    """How two records are compared, for the columns that hold something."""
    wanted = {
        "first_name": _name("first_name"),
        "last_name": _name("last_name"),
        "birth_date": cl.DateOfBirthComparison("birth_date", input_is_string=True),
        "email": _rare(cl.EmailComparison("email")),
        "phone": _rare(cl.LevenshteinAtThresholds("phone", [1, 2])),
        "loyalty_number": cl.DamerauLevenshteinAtThresholds("loyalty_number", [1, 2]),
        "national_id": cl.DamerauLevenshteinAtThresholds("national_id", [1, 2]),
        "customer_id": _rare(cl.ExactMatch("customer_id")),
        "device_id": _rare(cl.ExactMatch("device_id")),
        "gender": cl.ExactMatch("gender"),
    }
    if {"street", "email"} <= filled:
        # Customers of a shop: the town follows from the postcode and both from the street, so they are one comparison.
        wanted["street"] = _address()
    else:
        wanted |= {
            "street": _rare(cl.JaroWinklerAtThresholds("street", [0.9, 0.7])),
            "street_number": cl.LevenshteinAtThresholds("street_number", 1),
            # `PostcodeComparison` knows British ones only.
            "postcode": _rare(cl.DamerauLevenshteinAtThresholds("postcode", [1, 2])),
            "city": _rare(cl.JaroWinklerAtThresholds("city", [0.9, 0.7])),
        }
    return [comparison for column, comparison in wanted.items() if column in filled]


def _rare(comparison: cl.ExactMatch) -> cl.ExactMatch:
    """With term frequencies: a rare value that agrees says more."""
    return comparison.configure(term_frequency_adjustments=True)


def _name(column: str) -> cl.CustomComparison:
    """`NameComparison` with the level for swapped names of `ForenameSurnameComparison`; this one takes a record without
    a first name for one with another first name."""
    return cl.CustomComparison(
        output_column_name=column,
        comparison_levels=[
            cll.NullLevel(column),
            cll.ExactMatchLevel(column, term_frequency_adjustments=True),
            cll.ColumnsReversedLevel("first_name", "last_name", symmetrical=True),
            cll.JaroWinklerLevel(column, 0.92),
            cll.JaroWinklerLevel(column, 0.88),
            cll.JaroWinklerLevel(column, 0.7),
            cll.ElseLevel(),
        ],
    )


def _address() -> cl.CustomComparison:
    street, city = cll.JaroWinklerLevel("street", 0.9), cll.JaroWinklerLevel("city", 0.9)
    return cl.CustomComparison(
        output_column_name="address",
        comparison_levels=[
            cll.And(cll.NullLevel("postcode"), cll.NullLevel("city")),
            cll.And(cll.ExactMatchLevel("postcode"), street, cll.ExactMatchLevel("street_number")),
            cll.And(cll.ExactMatchLevel("postcode"), street),
            cll.And(city, street),
            cll.ExactMatchLevel("postcode", term_frequency_adjustments=True),
            city,
            cll.ElseLevel(),
        ],
    )


def blocking_rules(filled: set[str], rows: int) -> list:
    """Which pairs are compared at all."""
    rules = BLOCKS + sum((more for most, more in MORE_BLOCKS.items() if rows <= most), ())
    columns = {rule: {part.removeprefix("substr(").split(",")[0] for part in rule} for rule in rules}
    return [*(block_on(*rule) for rule in rules if columns[rule] <= filled), NAMES_SWAPPED]


def write(connection: duckdb.DuckDBPyConnection, path: str, table: str, columns: str) -> None:
    """Columns of a table as CSV with a header."""
    connection.execute(f"COPY (SELECT {columns} FROM {table}) TO '{path}' (HEADER)")


if __name__ == "__main__":
    main(*sys.argv[1:])
