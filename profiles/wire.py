"""JSON over HTTP for the paths that machines write to: decoded against a type, answered in a stable order.

A domain exception leaves a view as it is; `cdp/api_errors.py` holds the one table that turns it into a problem.
"""

import re
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

LARGEST_BODY = 1024 * 1024

# A kept answer comes back with its keys in another order: sorted, a repeated answer is equal to the byte.
encode = msgspec.json.Encoder(order="sorted").encode

# The escape of the one character that PostgreSQL keeps in no text.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# What msgspec says of a name that is too many or too few: the path ends before it.
_WRONG_NAME = re.compile(r"Object (?P<how>contains unknown|missing required) field `(?P<name>.+)`")

# What msgspec says of values, and what it means to people. Types are named in JSON's words.
_WRONG_TYPE = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<sent>[^`]+)`")
_WRONG_LENGTH = re.compile(r"Expected `(?P<kind>[^`]+)` of length (?P<how>[<>])= (?P<number>\d+)")
_WRONG_SIZE = re.compile(r"Expected `(?:int|float)` (?P<how>[<>])= (?P<number>-?[\d.]+)")
_WRONG_VALUE = {
    "Invalid RFC3339 encoded datetime": _lazy("this is no time such as 2026-11-21T17:05:00+01:00"),
    "Expected `datetime` with a timezone component": _lazy("the time needs a zone, e.g. +02:00"),
    "Invalid RFC3339 encoded date": _lazy("this is no day such as 2026-11-21"),
    "Invalid decimal string": _lazy("this is no number such as 19.80"),
    "Invalid UUID": _lazy("this is no UUID"),
}
_KINDS = {
    "str": _lazy("text"), "int": _lazy("whole number"), "float": _lazy("number"), "decimal": _lazy("number"),
    "bool": _lazy("true or false"), "null": _lazy("nothing"), "object": _lazy("object"), "array": _lazy("list"),
    "datetime": _lazy("date and time"), "date": _lazy("day"), "uuid": "UUID",
}  # fmt: skip


class BodyTooLarge(ValueError):
    """The request's body is over the limit of the path."""


class MethodNotAllowed(ValueError):
    """The path answers to another method: to `allowed`."""

    def __init__(self, allowed: str):
        super().__init__(allowed)
        self.allowed = allowed


class InvalidBody(ValueError):
    """The body is no JSON of the documented shape. `field` is the path of the first error."""

    def __init__(self, detail: str, field: str = ""):
        super().__init__(detail)
        self.detail, self.field = detail, field


class ProblemAnswer(msgspec.Struct, kw_only=True):
    """RFC 9457. `code` is stable, `errors` names the fields."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[dict[str, str]] = []


def body_of(request: HttpRequest, largest: int = LARGEST_BODY) -> bytes:
    """The body of a POST. Raises `MethodNotAllowed`, `BodyTooLarge`, `InvalidBody`."""
    if request.method != "POST":
        raise MethodNotAllowed("POST")
    try:
        told = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise InvalidBody(_("the length of the body is no number"), "Content-Length") from None
    if told > largest:
        raise BodyTooLarge(_("the body is larger than %s bytes") % largest)
    return request.body


def decoded(body: bytes, decoder: msgspec.json.Decoder, *, nul: bool = False) -> Any:
    """The body as the decoder's type. Raises `InvalidBody`, with the path of the first error.

    `nul` lets the character pass that no text of the database holds: where the parts are decoded again.
    """
    # The words are looked for first: hardly any body has them, and the pattern takes its time.
    if not nul and rb"\u0000" in body and _NUL.search(body):
        raise InvalidBody(_("the character U+0000 is not allowed"), "")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        detail, _at, path = str(error).partition(" - at `$")
        path = path.strip("`").lstrip(".")
        if wrong := _WRONG_NAME.fullmatch(detail):
            name, is_unknown = wrong["name"], wrong["how"] == "contains unknown"
            told = _("no field is called «%s»") if is_unknown else _("the field «%s» is missing")
            raise InvalidBody(told % name, f"{path}.{name}".lstrip(".")) from None
        raise InvalidBody(_in_words(detail), path) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBody(_("the body is no valid JSON: %s") % error, "") from None


def _in_words(detail: str) -> str:
    """What msgspec says of a value, in the reader's language; as it is where we have no words for it."""
    if detail in _WRONG_VALUE:
        return str(_WRONG_VALUE[detail])
    if wrong := _WRONG_TYPE.fullmatch(detail):
        kinds = {"wanted": _kinds(wrong["wanted"]), "sent": _kinds(wrong["sent"])}
        return _("expected: %(wanted)s; sent: %(sent)s") % kinds
    if wrong := _WRONG_LENGTH.fullmatch(detail):
        number = wrong["number"]
        if wrong["kind"] == "str":
            told = _("characters: %s at most") if wrong["how"] == "<" else _("characters: %s at least")
        else:
            told = _("entries: %s at most") if wrong["how"] == "<" else _("entries: %s at least")
        return told % number
    if wrong := _WRONG_SIZE.fullmatch(detail):
        return (_("at most %s") if wrong["how"] == "<" else _("at least %s")) % wrong["number"]
    return detail


def _kinds(told: str) -> str:
    # Several may stand for one word, as numbers do that may be written in two ways.
    return ", ".join(dict.fromkeys(str(_KINDS.get(kind, kind)) for kind in told.split(" | ")))


def answered(body: object, status: int = 200) -> HttpResponse:
    """The answer as JSON."""
    return HttpResponse(encode(body), status=status, content_type="application/json")
