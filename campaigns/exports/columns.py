"""What a destination declares: its columns, how each value is written there, and the shape of the file."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.utils.functional import Promise

from profiles.imports.spreadsheet import guarded


@dataclass(frozen=True, slots=True)
class Row:
    """A person in an export. E-mail, phone and postal address are "" where we may not use them."""

    public_id: UUID
    first_name: str
    last_name: str
    email: str
    phone: str  # E.164, with +
    street: str
    postcode: str
    city: str
    store_code: str


@dataclass(frozen=True)
class Column:
    header: str
    value: Callable[[Row], str]


@dataclass(frozen=True)
class Format:
    """A destination. `for_people` marks a file that is opened in a spreadsheet: its cells are guarded."""

    code: str
    label: str | Promise
    columns: tuple[Column, ...]
    delimiter: str = ","
    for_people: bool = False

    @property
    def headers(self) -> list[str]:
        return [column.header for column in self.columns]

    def cells(self, row: Row) -> list[str]:
        """The row as it stands in the file."""
        written = [column.value(row) for column in self.columns]
        return [guarded(cell) for cell in written] if self.for_people else written
