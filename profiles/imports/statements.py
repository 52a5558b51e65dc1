"""A row of a file as a statement for the intake: our fields, the consents, the moment and the store. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
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
# How a cell begins that `unwrapped` has to look at.
_WRAPPED = frozenset("='#")
# Between the cells of a row when all are looked at at once; one that stands inside a cell costs time, nothing else.
_BETWEEN = "\x1f"
_MOST_ANSWERS = 1000
_LONGEST_REMEMBERED = 500

Answers = Mapping[str, Mapping[str, bool | None]]


class _Unusable(ValueError):
    def __init__(self, field: str, reason: str):
        super().__init__(reason)
        self.field = field


class Reading:
    """How the rows of one file are read: field -> column, and the zone of moments written without one."""

    __slots__ = (
        "_answers",
        "_channels",
        "_country",
        "_header",
        "_others",
        "_person",
        "_pick",
        "_whole_name",
        "columns",
        "zone",
    )

    def __init__(
        self, columns: Mapping[str, str], zone: ZoneInfo, answers: Answers | None = None, country: str = ""
    ):
        self.columns, self.zone = columns, zone
        self._answers = {
            column: {plain(word): said for word, said in words.items()}
            for column, words in (answers or {}).items()
        }
        self._country = country
        self._person = [field for field in columns if field in _ABOUT_THE_PERSON]
        self._others = [field for field in columns if field not in _ABOUT_THE_PERSON]
        # By field: its channel, and the answers in its column that were read before.
        self._channels: list[tuple[str, str, dict[str, bool | None]]] = [
            (field, channel, {}) for field, channel in CONSENTS.items() if field in columns
        ]
        self._whole_name = "full_name" in columns
        self._header: tuple[str, ...] | None = None
        self._pick: Callable[[Sequence[str]], Iterable[str]] = iter

    @classmethod
    def of(cls, mapping: Mapping[str, str], zone: ZoneInfo, answers: Answers | None = None) -> "Reading":
        """`answers`: column -> word -> what it says, for words that `values.unknown_answers` lists."""
        columns = {field: column for column, field in mapping.items() if field != IGNORE}
        return cls(columns, zone, answers, next((c for c in mapping if plain(c) in COUNTRIES), ""))

    def statement(self, row: Row) -> Statement | Refused:
        """The row as a statement; refused where a cell that must be understood is not."""
        if row.header is not self._header:
            self._of_header(row.header)
        texts = list(map(str.strip, self._pick(row.values)))
        try:
            # Almost every row is plain: one look at all its cells is cheaper than one at each.
            joined = _BETWEEN.join(texts)
            if (
                "=" in joined
                or "#" in joined
                or "\x1f'" in joined
                or joined[:1] == "'"
                or ("+" in joined and ("E+" in joined or "e+" in joined))
            ):
                texts = list(map(self._plain, (*self._person, *self._others), texts))
            fields = {field: text for field, text in zip(self._person, texts) if text}  # noqa: B905 - there are more texts
            cells = dict(zip(self._others, texts[len(self._person) :]))  # noqa: B905
            external_id = cells.get("external_id", "")
            if len(external_id) > LONGEST_ID:
                raise _Unusable("external_id", _("the id is longer than %s characters") % LONGEST_ID)
            stated_at = self._moment(cells, "stated_at")
            consents = self._consents(cells, stated_at)
        except _Unusable as fault:
            return Refused(row.line, str(fault), self.columns[fault.field], row.cells)
        raw = row.cells
        if self._whole_name or len(fields.get("birth_date", "")) == 5 or len(fields.get("postcode", "")) == 4:
            self._complete(fields, cells, raw)
        return Statement(external_id, fields, raw, stated_at, cells.get("store_code", ""), consents, row.line)

    def _of_header(self, header: tuple[str, ...]) -> None:
        places = [header.index(self.columns[field]) for field in (*self._person, *self._others)]
        self._header = header
        # One place alone would be picked as a text and not as several.
        self._pick = itemgetter(*places, *places[:1]) if places else lambda _values: ()

    def _plain(self, field: str, text: str) -> str:
        try:
            text = unwrapped(text) if text[:1] in _WRAPPED else text
            return exact(text) if field in _EXACT else text
        except NotUnderstood as fault:
            raise _Unusable(field, str(fault)) from fault

    def _moment(self, cells: Mapping[str, str], field: str) -> datetime | None:
        text = cells.get(field)
        if not text:
            return None
        try:
            return moment(text, self.zone)
        except NotUnderstood as fault:
            raise _Unusable(field, str(fault)) from fault

    def _complete(self, fields: dict[str, str], cells: Mapping[str, str], raw: Mapping[str, str]) -> None:
        """What is certain beyond the words of the row."""
        if cells.get("full_name"):
            first, last = first_and_last_name(cells["full_name"])
            fields.setdefault("first_name", first)
            fields.setdefault("last_name", last)
        if len(fields.get("birth_date", "")) == 5:
            fields["birth_date"] = day_of_serial(fields["birth_date"])
        if self._country and len(fields.get("postcode", "")) == 4:
            fields["postcode"] = postcode_in(fields["postcode"], raw.get(self._country, ""))

    def _consents(self, cells: Mapping[str, str], stated_at: datetime | None) -> tuple[ConsentStatement, ...]:
        answers = []
        for field, channel, known in self._channels:
            text = cells[field]
            if text:
                answer = known[text] if text in known else self._answer(field, text, known)
                if answer is not None:
                    answers.append((channel, answer))
        if not answers:
            return ()
        at = self._moment(cells, "consent_at") or stated_at
        wording = cells.get("consent_wording", "")
        if len(wording) > _LONGEST_REMEMBERED:
            return _consents.__wrapped__(tuple(answers), at, wording)
        return _consents(tuple(answers), at, wording)

    def _answer(self, field: str, text: str, known: dict[str, bool | None]) -> bool | None:
        words, word = self._answers.get(self.columns[field], {}), plain(text)
        try:
            answer = words[word] if word in words else yes_or_no(text)
        except NotUnderstood as fault:
            raise _Unusable(field, str(fault)) from fault
        if len(known) < _MOST_ANSWERS:
            known[text] = answer
        return answer


@lru_cache(maxsize=8192)
def _consents(
    answers: tuple[tuple[str, bool], ...], at: datetime | None, wording: str
) -> tuple[ConsentStatement, ...]:
    """Thousands of rows say the same in the same words on the same day."""
    return tuple(ConsentStatement(channel, granted, at, wording) for channel, granted in answers)
