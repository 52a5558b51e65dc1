"""Rows written by COPY: all of them, and none asks the database while it is copied to."""

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from profiles.intake.writing import draw_ids, write
from profiles.models import BlockingKey, Source


def test_rows_are_made_before_the_line_is_taken(brand):
    columns = [field.column for field in Source._meta.concrete_fields]
    ids = draw_ids(Source, 3)

    def rows():
        for number in ids:
            # A question now would wait for ever if the copying had begun: the connection would be busy with it.
            assert connection.connection.info.transaction_status != psycopg.pq.TransactionStatus.ACTIVE
            assert not Source.objects.filter(pk=number).exists()
            source = Source(pk=number, code=f"s{number}", name="S", kind=Source.Kind.OTHER)
            yield [getattr(source, field.attname) for field in Source._meta.concrete_fields]

    write(Source, columns, rows())
    assert sorted(Source.objects.filter(pk__in=ids).values_list("pk", flat=True)) == ids


def test_nothing_to_write_and_no_ids_to_draw_is_no_fault(brand):
    write(Source, ["id"], [])
    assert draw_ids(Source, 0) == []


def test_what_the_database_refuses_is_told_as_by_an_insert(brand):
    with pytest.raises(IntegrityError), transaction.atomic():
        write(BlockingKey, ["key"], [(1,)])
