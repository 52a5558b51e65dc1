"""JSON -> syntax tree. Whatever comes in, the answer is a tree or a `SegmentError` with the path of the mistake."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Any

from campaigns.segments.language.errors import SegmentError
from campaigns.segments.language.tree import DEEPEST, Group, Kind, Leaf, Value, Window
from campaigns.segments.language.words import (
    ALIASES,
    NEGATIVE,
    OF_A_ROW,
    OF_MANY,
    WITHOUT_VALUE,
    Param,
    Takes,
    Vocabulary,
    Word,
)

MOST_LEAVES = 50
MOST_VALUES = 500
LONGEST_TEXT = 120
MOST_DAYS = 3660
MOST_AROUND_A_DAY = 182
MOST = 10**12
CHANNELS = ("email", "sms", "post")
KINDS: tuple[Kind, ...] = ("all", "any", "none")


def parse(definition: object, vocabulary: Vocabulary) -> Group:
    """The tree that `definition` (JSON as Python objects) says. Raises `SegmentError`.

    An empty ``{"all": []}`` at the root means everybody; no other group may be empty.
    """
    if not isinstance(definition, Mapping) or not set(definition) & set(KINDS):
        raise SegmentError("", "not_a_group")
    reader = _Reader(vocabulary)
    return reader.group(definition, "", 1)


class _Reader:
    """Reads one definition, counting its leaves."""

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary
        self.leaves = 0

    def node(self, written: object, path: str, depth: int) -> Group | Leaf:
        if not isinstance(written, Mapping):
            raise SegmentError(path, "not_a_condition", got=_kind_of(written))
        if set(written) & set(KINDS):
            return self.group(written, path, depth)
        self.leaves += 1
        if self.leaves > MOST_LEAVES:
            raise SegmentError(path, "too_many", most=MOST_LEAVES)
        return self.leaf(written, path)

    def group(self, written: Mapping[Any, Any], path: str, depth: int) -> Group:
        kind = next(kind for kind in KINDS if kind in written)
        if len(written) > 1:
            others = ", ".join(_shown(key) for key in written if key != kind)
            raise SegmentError(path, "group_has_more", keys=others)
        inner = f"{path}.{kind}" if path else kind
        if depth > DEEPEST:
            raise SegmentError(inner, "too_deep", most=DEEPEST)
        children = written[kind]
        if not isinstance(children, Sequence) or isinstance(children, str):
            raise SegmentError(inner, "not_a_list")
        if not children and (path or kind != "all"):
            raise SegmentError(inner, "empty_group")
        return Group(
            kind, tuple(self.node(child, f"{inner}[{i}]", depth + 1) for i, child in enumerate(children))
        )

    def leaf(self, written: Mapping[Any, Any], path: str) -> Leaf:
        word = self._word(written, path)
        self._refuse_unknown_keys(written, word, path)
        op = _operator(written, word, path)
        window = None
        if written.get("window") is not None:
            if not word.windowed:
                raise SegmentError(f"{path}.window", "no_window", field=word.label)
            window = _window(written["window"], f"{path}.window")
        or_missing = written.get("or_missing", False)
        if not isinstance(or_missing, bool):
            raise SegmentError(f"{path}.or_missing", "not_a_flag")
        if or_missing and not (op in NEGATIVE and word.may_be_missing):
            raise SegmentError(f"{path}.or_missing", "never_missing")
        return Leaf(
            word.name,
            op,
            _value(written, word, op, f"{path}.value"),
            tuple(_params(written, word, path)),
            window,
            or_missing,
        )

    def _word(self, written: Mapping[Any, Any], path: str) -> Word:
        name = written.get("field")
        if name is None or name == "":
            raise SegmentError(f"{path}.field", "no_field")
        word = self.vocabulary.get(name) if isinstance(name, str) else None
        if word is None:
            raise SegmentError(
                f"{path}.field", "unknown_field", word=_shown(name), near=near(name, self.vocabulary)
            )
        return word

    @staticmethod
    def _refuse_unknown_keys(written: Mapping[Any, Any], word: Word, path: str) -> None:
        known = ["field", "op", "value", "window", "or_missing", *(param.name for param in word.params)]
        for key in written:
            if key not in known:
                raise SegmentError(
                    f"{path}.{_shown(key)}",
                    "unknown_key",
                    word=_shown(key),
                    field=word.label,
                    near=near(key, known),
                )


def near(word: object, known: "Sequence[str] | Vocabulary") -> str:
    """The known word that was probably meant, or ""."""
    matches = get_close_matches(word, list(known), n=1) if isinstance(word, str) and len(word) < 80 else []
    return matches[0] if matches else ""


def _operator(written: Mapping[Any, Any], word: Word, path: str) -> str:
    op = written.get("op")
    if op is None or op == "":
        raise SegmentError(f"{path}.op", "no_operator")
    op = ALIASES.get(op, op) if isinstance(op, str) else op
    if not isinstance(op, str) or op not in word.allowed_operators:
        known = " ".join(word.allowed_operators)
        raise SegmentError(f"{path}.op", "unknown_operator", field=word.label, word=_shown(op), known=known)
    return op


def _value(written: Mapping[Any, Any], word: Word, op: str, path: str) -> Value:
    value = written.get("value")
    if op in WITHOUT_VALUE:
        if value is not None:
            raise SegmentError(path, "value_not_wanted", op=op)
        return None
    if value is None:
        raise SegmentError(path, "no_value")
    if op in OF_A_ROW:
        return _whole(value, path, most=MOST_AROUND_A_DAY)
    read = _READERS[word.takes]
    if op in OF_MANY:
        return _several(value, read, path)
    if op == "between":
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise SegmentError(path, "not_a_pair")
        low, high = read(value[0], f"{path}[0]"), read(value[1], f"{path}[1]")
        if low > high:
            raise SegmentError(path, "not_a_pair")
        return low, high
    return read(value, path)


def _params(written: Mapping[Any, Any], word: Word, path: str) -> list[tuple[str, Value]]:
    params: list[tuple[str, Value]] = []
    for param in sorted(word.params, key=lambda param: param.name):
        value = written.get(param.name)
        if value is None:
            if param.required:
                raise SegmentError(f"{path}.{param.name}", "no_param", field=param.label)
            continue
        params.append((param.name, _param(value, param, f"{path}.{param.name}")))
    return params


def _param(value: object, param: Param, path: str) -> Value:
    read = _READERS[param.takes]
    if param.many and isinstance(value, list | tuple):
        return _several(value, read, path)
    return read(value, path)


def _several(value: object, read: Callable[[object, str], Any], path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MOST_VALUES:
        raise SegmentError(path, "not_some_texts", most=MOST_VALUES)
    return tuple(read(item, f"{path}[{i}]") for i, item in enumerate(value))


def _window(written: object, path: str) -> Window:
    keys = set(written) if isinstance(written, Mapping) else set()
    if not isinstance(written, Mapping) or not keys:
        raise SegmentError(path, "not_a_window")
    if keys == {"last_days"}:
        return Window(last_days=_whole(written["last_days"], f"{path}.last_days", least=1, most=MOST_DAYS))
    if keys == {"month"} and written["month"] == "previous":
        return Window(month="previous")
    if not keys <= {"from", "to"}:
        raise SegmentError(path, "not_a_window")
    ends = {key: _day(day, f"{path}.{key}") for key, day in written.items()}
    first, last = ends.get("from"), ends.get("to")
    if first and last and first > last:
        raise SegmentError(path, "window_backwards")
    return Window(first=first, last=last)


def _whole(value: object, path: str, least: int = 0, most: int = MOST) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    if most < MOST:
        raise SegmentError(path, "not_a_number", least=least, most=most)
    raise SegmentError(path, "not_a_count" if least == 0 else "not_an_amount")


def _days(value: object, path: str) -> int:
    return _whole(value, path, most=100 * MOST_DAYS)


def _cents(value: object, path: str) -> int:
    return _whole(value, path, least=-MOST)


def _day(value: object, path: str) -> date:
    # Only the long form: fromisoformat() reads 20260101 and week dates as well, which would not be written back alike.
    if isinstance(value, str) and len(value) == 10 and value[4] == value[7] == "-":
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise SegmentError(path, "not_a_day")


def _text(value: object, path: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_TEXT or not _storable(value):
        raise SegmentError(path, "not_a_text", most=LONGEST_TEXT)
    return value


def _storable(text: str) -> bool:
    """Whether a database of UTF-8 text can hold it: no NUL, no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _channel(value: object, path: str) -> str:
    if not isinstance(value, str) or value not in CHANNELS:
        raise SegmentError(path, "unknown_channel", word=_shown(value), known=", ".join(CHANNELS))
    return value


def _flag(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise SegmentError(path, "not_a_flag")
    return value


_READERS: Mapping[Takes, Callable[[object, str], Any]] = {
    Takes.NUMBER: _whole,
    Takes.CENTS: _cents,
    Takes.DAYS: _days,
    Takes.DAY: _day,
    Takes.TEXT: _text,
    Takes.CODE: _text,
    Takes.CHANNEL: _channel,
    Takes.FLAG: _flag,
}


def _shown(value: object) -> str:
    """A piece of the input, short enough for a message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _kind_of(value: object) -> str:
    kinds = {
        type(None): "null",
        bool: "true/false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
    }
    return kinds.get(type(value), type(value).__name__)
