"""What the segment builder in the browser reads: the words that this person may use, and the lists of codes."""

from collections.abc import Mapping

from django.utils.translation import get_language
from django.utils.translation import gettext as _

from campaigns.segments.fields import VOCABULARY, AtStore, Field, codes
from campaigns.segments.language import DEEPEST, Param, Takes
from campaigns.segments.language.words import OF_MANY, WITHOUT_VALUE
from profiles.models import Channel
from tenants.scoping import current_scope

LISTS = ("store", "region", "tier", "category")


def vocabulary() -> dict:
    """Words, operators, code lists and texts, for `static/campaigns/builder.js`. Asked in the scope in force."""
    language = "fr" if (get_language() or "en").startswith("fr") else "en"
    whole_network = current_scope().is_whole_network
    words = [
        _word(field, language)
        for field in VOCABULARY.values()
        if whole_network or field.at_store is not AtStore.REFUSED
    ]
    return {
        "deepest": DEEPEST,
        "words": words,
        "lists": {kind: codes(kind) for kind in LISTS} | {"channel": dict(_channels())},
        "operators": _operators(),
        "dayOperators": _day_operators(),
        "withoutValue": sorted(WITHOUT_VALUE),
        "ofMany": sorted(OF_MANY),
        "said": _said(),
    }


def _channels() -> list[tuple[str, str]]:
    return [(str(channel.value), str(channel.label)) for channel in Channel]


def _word(field: Field, language: str) -> dict:
    return {
        "name": field.name,
        "label": _capital(field.label[language]),
        "help": field.help[language],
        "takes": field.takes.value,
        "operators": field.allowed_operators,
        "list": field.codes or ("channel" if field.takes is Takes.CHANNEL else ""),
        "windowed": field.windowed,
        "mayBeMissing": field.may_be_missing,
        "params": [_param(param, language) for param in field.params],
    }


def _param(param: Param, language: str) -> dict:
    return {
        "name": param.name,
        "label": _capital(param.label[language]),
        "takes": param.takes.value,
        "many": param.many,
        "required": param.required,
        "list": param.name if param.name in LISTS else "",
    }


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _operators() -> Mapping[str, str]:
    return {
        "=": _("is"), "!=": _("is not"), "<": _("less than"), "<=": _("at most"), ">": _("more than"),
        ">=": _("at least"), "between": _("between"), "in": _("is one of"), "not_in": _("is none of"),
        "contains": _("contains"), "starts": _("starts with"), "exists": _("is known"), "missing": _("is missing"),
        "within": _("within days of today"), "next": _("in the next days"),
    }  # fmt: skip


def _day_operators() -> Mapping[str, str]:
    return {
        "=": _("on"), "<": _("before"), "<=": _("on or before"), ">": _("after"), ">=": _("on or after"),
        "between": _("between"),
    }  # fmt: skip


def _said() -> Mapping[str, str]:
    """The texts of the builder itself."""
    return {
        "all": _("All of these hold"), "any": _("Any of these holds"), "none": _("None of these holds"),
        "group": _("Group of conditions"), "condition": _("Condition"), "field": _("Field"),
        "operator": _("Operator"), "value": _("Value"), "from": _("From"), "to": _("To"), "window": _("Period"),
        "ever": _("ever"), "lastDays": _("in the last … days"), "month": _("the month before this one"),
        "dates": _("between two days"), "days": _("Days"), "orMissing": _("or unknown"),
        "addCondition": _("Add a condition"), "addGroup": _("Add a group"), "remove": _("Remove"),
        "up": _("Move up"), "down": _("Move down"), "yes": _("yes"), "no": _("no"), "anyOf": _("any"), "colon": _(":"),
        "chosen": _("chosen"), "choose": _("Choose…"), "manyHint": _("Several: separate them by commas."),
        "everybody": _("No condition yet: everybody is in."), "counting": _("Counting…"),
        "noCount": _("The count did not come back. Change a condition to try again."),
    }  # fmt: skip
