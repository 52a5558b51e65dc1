"""Statements that are asked again and again are prepared once a connection."""

from django.db import connection
from django.test.utils import CaptureQueriesContext

from tenants.brand_sql import call, prepared


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
