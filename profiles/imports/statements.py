"""A row of a file as a statement for the intake: our fields, the consents, the moment and the store. Pure."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from profiles.imports.mapping import CONSENTS, COUNTRIES, IGNORE
from profiles.imports.reading import Refused, Row
from profiles.imports.values import (
    NotUnderstood,
    day_of_serial,
    exact,
    first_and_last_name,
    moment,
    plain,
    postcode_in,
    unwrapped,
    yes_or_no,
)
from profiles.intake import ConsentStatement, Statement

LONGEST_ID = 80
_ABOUT_THE_PERSON = (
    "first_name", "last_name", "birth_date", "email", "phone", "street", "postcode", "city", "card", "customer_id",
)  # fmt: skip
# By these somebody is found again: a rounded one would be somebody else's.
_EXACT = frozenset({"external_id", "customer_id", "card", "phone"})
_WRAPPED = frozenset("='#")

Answers = Mapping[str, Mapping[str, bool | None]]


class _Unusable(ValueError):
    def __init__(self, field: str, reason: str):
        super().__init__(reason)
        self.field = field


class Reading:
    """How the rows of one file are read: field -> column, and the zone of moments written without one."""

    __slots__ = ("_answers", "_country", "_header", "_places", "columns", "zone")

    def __init__(
        self, columns: Mapping[str, str], zone: ZoneInfo, answers: Answers | None = None, country: str = ""
    ):
        self.columns, self.zone = columns, zone
        self._answers = {
            column: {plain(word): said for word, said in words.items()}
            for column, words in (answers or {}).items()
        }
        self._header: tuple[str, ...] | None = None
        self._places: list[tuple[str, int, bool, bool]] = []
        self._country = country

    @classmethod
    def of(cls, mapping: Mapping[str, str], zone: ZoneInfo, answers: Answers | None = None) -> "Reading":
        """`answers`: column -> word -> what it says, for words that `values.unknown_answers` lists."""
        columns = {field: column for column, field in mapping.items() if field != IGNORE}
        return cls(columns, zone, answers, next((c for c in mapping if plain(c) in COUNTRIES), ""))

    def statement(self, row: Row) -> Statement | Refused:
        """The row as a statement; refused where a cell that must be understood is not."""
        if row.header is not self._header:
            self._header = row.header
            self._places = [
                (field, row.header.index(column), field in _EXACT, field in _ABOUT_THE_PERSON)
                for field, column in self.columns.items()
            ]
        values = row.values
        fields: dict[str, str] = {}
        cells: dict[str, str] = {}
        field = ""
        try:
            for field, place, is_exact, about_the_person in self._places:
                text = values[place].strip()
                if text:
                    if text[0] in _WRAPPED:
                        text = unwrapped(text)
                    if is_exact and ("E+" in text or "e+" in text):
                        exact(text)
                    if about_the_person:
                        fields[field] = text
                    else:
                        cells[field] = text
            external_id = cells.get("external_id", "")
            if len(external_id) > LONGEST_ID:
                raise _Unusable("external_id", _("the id is longer than %s characters") % LONGEST_ID)
            field = "stated_at"
            stated_at = moment(cells[field], self.zone) if field in cells else None
            consents = self._consents(cells, stated_at)
        except _Unusable as fault:
            return Refused(row.line, str(fault), self.columns[fault.field], row.cells)
        except NotUnderstood as fault:
            return Refused(row.line, str(fault), self.columns[field], row.cells)
        raw = row.cells
        if "full_name" in cells:
            first, last = first_and_last_name(cells["full_name"])
            fields.setdefault("first_name", first)
            fields.setdefault("last_name", last)
        if len(fields.get("birth_date", "")) == 5:
            fields["birth_date"] = day_of_serial(fields["birth_date"])
        if self._country and len(fields.get("postcode", "")) == 4:
            fields["postcode"] = postcode_in(fields["postcode"], raw.get(self._country, ""))
        return Statement(external_id, fields, raw, stated_at, cells.get("store_code", ""), consents, row.line)

    def _consents(self, cells: Mapping[str, str], stated_at: datetime | None) -> tuple[ConsentStatement, ...]:
        answers = tuple(
            (channel, answer)
            for field, channel in CONSENTS.items()
            if field in cells and (answer := self._answer(field, cells[field])) is not None
        )
        if not answers:
            return ()
        try:
            at = moment(cells.get("consent_at", ""), self.zone) or stated_at
        except NotUnderstood as fault:
            raise _Unusable("consent_at", str(fault)) from fault
        return _consents(answers, at, cells.get("consent_wording", ""))

    def _answer(self, field: str, text: str) -> bool | None:
        if self._answers and (words := self._answers.get(self.columns[field])):
            word = plain(text)
            if word in words:
                return words[word]
        try:
            return yes_or_no(text)
        except NotUnderstood as fault:
            raise _Unusable(field, str(fault)) from fault


@lru_cache(maxsize=8192)
def _consents(
    answers: tuple[tuple[str, bool], ...], at: datetime | None, wording: str
) -> tuple[ConsentStatement, ...]:
    """Thousands of rows say the same in the same words on the same day."""
    return tuple(ConsentStatement(channel, granted, at, wording) for channel, granted in answers)
