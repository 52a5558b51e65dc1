"""Statements that are asked again and again are prepared once a connection; several calls are all or nothing."""

from contextlib import nullcontext

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from tenants.brand_sql import CloserLook, call, calls, prepared
from tests.loyalty.test_ledger_invariants import arena, stage  # noqa: F401 - fixtures


def kept(word: str) -> int:
    """How many prepared statements of this connection say the word."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return sum(word in statement for (statement,) in cursor.fetchall())


def test_a_function_s_call_is_prepared_once(brand):
    assert [call("SELECT $1::int AS of_a_call", [n]) for n in (1, 2)] == [(1,), (2,)]
    assert kept("of_a_call") == 1


def test_a_statement_of_a_prepared_cursor_is_prepared_once(brand):
    for number in (1, 2):
        with prepared() as cursor:
            cursor.execute("SELECT %(told)s::int AS of_a_cursor, %(told)s", {"told": number})
            assert cursor.fetchone()[0] == number
    assert kept("of_a_cursor") == 1


def test_an_ordinary_statement_is_not(brand):
    for number in range(8):
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::int AS of_nobody", [number])
    assert kept("of_nobody") == 0


def test_who_logs_statements_reads_them_with_their_parameters(brand):
    with CaptureQueriesContext(connection) as heard, prepared() as cursor:
        cursor.execute("SELECT %s::int AS of_a_log", [4711])
    assert "SELECT 4711::int AS of_a_log" in [query["sql"] for query in heard.captured_queries]


def test_a_prepared_cursor_stands_in_the_brand_s_schema(brand):
    connection.set_schema_to_public()
    connection.set_tenant(brand)
    with prepared() as cursor:
        cursor.execute("SELECT current_schema()")
        assert cursor.fetchone() == (brand.schema_name,)


# --- Several calls -------------------------------------------------------------------------------------------------

NOTED = """
CREATE TABLE noted (
    id int PRIMARY KEY, of_number int REFERENCES noted (id) DEFERRABLE INITIALLY DEFERRED, said numeric);
CREATE FUNCTION note(number int, of_number int, what text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO noted VALUES (number, of_number, CASE what WHEN 'wrong' THEN 1 / (number - number) END);
    IF what = 'look' THEN
        PERFORM look_closer('people');
    END IF;
    RETURN number;
END $$
"""


def carry_out(*statements: str) -> list:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def noted(arena):  # noqa: F811
    arena.run(carry_out, NOTED)
    yield
    arena.run(carry_out, "DROP TABLE noted", "DROP FUNCTION note")


def interrupted():
    yield [1, None, ""]
    yield [2, None, ""]
    raise KeyError("a ticket that cannot be thought of")


@pytest.mark.parametrize("around", [nullcontext, transaction.atomic])
@pytest.mark.parametrize(
    ("params", "refused"),
    [
        ([[1, None, ""], [2, None, "look"], [3, None, "wrong"]], CloserLook),
        ([[1, None, ""], [2, None, "wrong"], [3, None, "look"]], DataError),
        ([[1, None, ""], [2, 99, ""], [3, None, ""]], IntegrityError),  # at the commit
        (interrupted, KeyError),
    ],
)
def test_several_calls_are_all_or_nothing_and_the_first_refusal_is_told(
    arena, noted, around, params, refused,  # noqa: F811
):  # fmt: skip
    def ask(params):
        with around():
            return calls("SELECT note($1::int, $2::int, $3::text)", params)

    def refused_and_then_not():
        with pytest.raises(refused):
            ask(params() if callable(params) else params)
        return carry_out("SELECT count(*) FROM noted"), ask([[1, None, ""], [2, 1, ""]])

    assert arena.run(refused_and_then_not) == ([(0,)], [(1,), (2,)])
