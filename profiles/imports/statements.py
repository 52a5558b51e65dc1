"""A row of a file as a statement for the intake: our fields, the consents, the moment and the store. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from profiles.imports.mapping import CONSENTS, IGNORE
from profiles.imports.reading import Refused, Row
from profiles.imports.values import NotUnderstood, first_and_last_name, moment, yes_or_no
from profiles.intake import ConsentStatement, Statement

LONGEST_ID = 80
_ABOUT_THE_PERSON = (
    "first_name", "last_name", "birth_date", "email", "phone", "street", "postcode", "city", "card", "customer_id",
)  # fmt: skip


class _Unusable(ValueError):
    def __init__(self, field: str, reason: str):
        super().__init__(reason)
        self.field = field


class Reading(NamedTuple):
    """How the rows of one file are read: field -> column, and the zone of moments written without one."""

    columns: Mapping[str, str]
    zone: ZoneInfo

    @classmethod
    def of(cls, mapping: Mapping[str, str], zone: ZoneInfo) -> "Reading":
        return cls({field: column for column, field in mapping.items() if field != IGNORE}, zone)

    def statement(self, row: Row) -> Statement | Refused:
        """The row as a statement; refused where a cell that must be understood is not."""
        cells = {field: row.cells[column].strip() for field, column in self.columns.items()}
        try:
            external_id = cells.get("external_id", "")
            if len(external_id) > LONGEST_ID:
                raise _Unusable("external_id", _("the id is longer than %s characters") % LONGEST_ID)
            stated_at = self._moment(cells, "stated_at")
            consents = self._consents(cells, stated_at)
        except _Unusable as fault:
            return Refused(row.line, str(fault), self.columns[fault.field], row.cells)
        fields = {field: cells[field] for field in _ABOUT_THE_PERSON if cells.get(field)}
        if cells.get("full_name"):
            first, last = first_and_last_name(cells["full_name"])
            fields.setdefault("first_name", first)
            fields.setdefault("last_name", last)
        return Statement(
            external_id=external_id,
            fields=fields,
            raw=dict(row.cells),
            stated_at=stated_at,
            store_code=cells.get("store_code", ""),
            consents=consents,
            line=row.line,
        )

    def _moment(self, cells: Mapping[str, str], field: str) -> datetime | None:
        try:
            return moment(cells.get(field, ""), self.zone)
        except NotUnderstood as fault:
            raise _Unusable(field, str(fault)) from fault

    def _consents(self, cells: Mapping[str, str], stated_at: datetime | None) -> list[ConsentStatement]:
        answers = {}
        for field, channel in CONSENTS.items():
            try:
                answers[channel] = yes_or_no(cells.get(field, ""))
            except NotUnderstood as fault:
                raise _Unusable(field, str(fault)) from fault
        given = {channel: answer for channel, answer in answers.items() if answer is not None}
        if not given:
            return []
        at = self._moment(cells, "consent_at") or stated_at
        wording = cells.get("consent_wording", "")
        return [ConsentStatement(channel, granted, at, wording) for channel, granted in given.items()]
