"""The SQL objects of a brand's schema: constraints, triggers and functions that keep its promises.

A function that fixes its `search_path` keeps it through a rename or a restore under another name, and would then
write into the old brand. So each file is idempotent, and `install()` runs them all again whenever a schema was
created, cloned, renamed or restored.
"""

from pathlib import Path

from django.conf import settings
from django.db import connection, migrations, transaction

NEXT = "\n-- next\n"


def statements(path: Path) -> list[str]:
    """The statements of a file, which stand apart by a line `-- next`."""
    return [part.strip() for part in Path(path).read_text(encoding="utf-8").split(NEXT) if part.strip()]


def operations(name: str) -> list[migrations.RunSQL]:
    """The file, named from the project's root, as migration operations, one statement each (distributed PostgreSQL
    asks for that)."""
    path = settings.BASE_DIR / name
    return [migrations.RunSQL(statement, migrations.RunSQL.noop) for statement in statements(path)]


def install() -> None:
    """Create or replace the SQL objects of the schema that the connection is in."""
    with transaction.atomic(), connection.cursor() as cursor:
        for path in settings.BRAND_SQL:
            for statement in statements(path):
                cursor.execute(statement)
