"""Rules in the words of their readers: a card, what a draft changes, and why a rule gave a basket nothing."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any

from django.utils import timezone
from django.utils.dates import WEEKDAYS
from django.utils.formats import date_format, number_format, time_format
from django.utils.functional import cached_property
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy

from loyalty import rules, segments
from loyalty.models import Rule, Tier
from loyalty.version_form import (
    TERMS,
    VersionForm,
    action_in_words,
    days_in_words,
    life_in_words,
    points_in_words,
    terms_in_words,
)
from tenants.network.models import Store, Till
from tenants.templatetags.money import money

Words = Mapping[str, Any]
# What stands where a word is not said.
EVERYTHING = pgettext_lazy("a rule's condition", "all")
NOTHING = pgettext_lazy("a rule's condition", "none")
UNSAID = {
    "hours": _("all day"),
    "dates": _("every day"),
    "channels": _("all channels"),
    "segments": _("everybody"),
    "min_total_cents": _("any amount"),
    "except_categories": NOTHING,
    "except_skus": NOTHING,
    "cap_per_ticket": _("no limit"),
    "cap_per_day": _("no limit"),
    "times": _("no limit"),
    "times_per_campaign": _("no limit"),
    "pending_days": _("at once"),
    "expiry_months": _("never"),
    "expiry_day": NOTHING,
}
CONDITIONS = (
    "stores", "channels", "segments", "tiers", "dates", "weekdays", "hours", "payments", "min_total_cents",
    "categories", "skus", "except_categories", "except_skus",
)  # fmt: skip
WHY = {
    "base": _("points for the amount"),
    "multiplier": _("multiplier"),
    "bonus": _("fixed bonus"),
    "action": _("action"),
    "cap": _("cap of a ticket"),
    "cap of the day": _("cap of a day"),
}


@dataclass(frozen=True)
class Change:
    """One word of a rule that says something else: `Stores: all → Lille`."""

    label: str
    before: str
    after: str

    def __str__(self) -> str:
        return _t("%(label)s: %(before)s → %(after)s") % {
            "label": self.label, "before": self.before, "after": self.after,
        }  # fmt: skip


@dataclass(frozen=True)
class Card:
    """A rule for the eye: when it applies, what it gives, and within which limits."""

    when: list[str]
    then: str
    limits: list[str]
    warnings: list[str]


class Names:
    """What codes are called, as far as the current scope may know them."""

    def __init__(self) -> None:
        self.stores = {store.code: store.name for store in Store.objects.all()}
        self.tiers = dict(Tier.objects.values_list("code", "name"))

    @cached_property
    def segments(self) -> dict[int, str]:
        return segments.names()

    def segments_called(self, ids: Iterable[int]) -> str:
        """Segments that the scope does not know are counted, not named."""
        ids = list(ids)
        known = [_t("«%(name)s»") % {"name": self.segments[pk]} for pk in ids if pk in self.segments]
        others = len(ids) - len(known)
        if others:
            told = ngettext("%(count)s other segment", "%(count)s other segments", others)
            known.append(told % {"count": others})
        return ", ".join(known)

    def tier(self, code: str) -> str:
        return self.tiers.get(code, code) if code else _t("no tier")

    def stores_called(self, codes: list[str]) -> str:
        """Stores that the scope does not know are counted, not named."""
        known = [self.stores[code] for code in codes if code in self.stores]
        others = len(codes) - len(known)
        if others:
            known.append(
                ngettext("%(count)s other store", "%(count)s other stores", others) % {"count": others}
            )
        return ", ".join(known)


def card(kind: str, conditions: Words, terms: Words, names: Names) -> Card:
    """The rule as three short lists."""
    when = [
        _t("%(label)s: %(value)s")
        % {"label": _label(word), "value": _condition(word, conditions[word], names)}
        for word in CONDITIONS
        if word in conditions
    ]
    return Card(
        when or [_t("always")], _then(kind, terms), _limits(kind, terms), _warnings(conditions, names)
    )


def _warnings(conditions: Words, names: Names) -> list[str]:
    """Segments that could not be read the last time: their members of before count."""
    return [
        _t("%(segment)s could not be read (%(reason)s): who was in it on %(day)s counts") % {
            "segment": names.segments_called([read.pk]), "reason": read.error,
            "day": date_format(timezone.localtime(read.read_at), "SHORT_DATETIME_FORMAT") if read.read_at else "–",
        }
        for read in segments.failing(conditions.get("segments", ()))
    ]  # fmt: skip


def _then(kind: str, terms: Words) -> str:
    if kind == rules.BASE:
        each = {"points": points_in_words(terms["points"]), "amount": money(terms["per_cents"])}
        return _t("%(points)s for each %(amount)s") % each
    if kind == rules.MULTIPLIER:
        return _t("points × %(factor)s") % {"factor": _number(terms["factor"])}
    if kind == rules.ACTION:
        told = {"points": points_in_words(terms["points"]), "action": terms["action"]}
        return _t("%(points)s for «%(action)s»") % told
    return terms_in_words(kind, dict(terms))


def _limits(kind: str, terms: Words) -> list[str]:
    if kind == rules.MULTIPLIER:
        return [str(Rule.Stacking(terms.get("stacking", rules.BEST)).label)]
    if kind == rules.ACTION:
        return [*action_in_words(dict(terms))[1:], *life_in_words(dict(terms))]
    if kind == rules.BASE:
        said = [_t("rounded down %(scope)s") % {"scope": _term("rounding", terms.get("rounding"))}]
        if terms.get("cap_per_ticket") is not None:
            said.append(_t("at most %(cap_per_ticket)s a ticket") % terms)
        if terms.get("cap_per_day") is not None:
            said.append(_t("at most %(cap_per_day)s a day") % terms)
        if terms.get("amounts") == rules.GROSS:
            said.append(_t("vouchers change nothing"))
        return said + life_in_words(dict(terms))
    return []


def changes(
    kind: str, before: tuple[Words, Words] | None, after: tuple[Words, Words], names: Names
) -> list[Change]:
    """What `after` says that `before` does not, word by word; both are (conditions, terms). A first version changes
    everything from nothing."""
    old_when, old_then = before or ({}, {})
    when, then = after
    found = []
    if kind == rules.BASE:
        found += _rate(old_then, then)
    for word in TERMS:
        if word not in rules.TERMS[kind] or (kind == rules.BASE and word in ("points", "per_cents")):
            continue
        said = [_term(word, terms.get(word)) for terms in (old_then, then)]
        if before is None and word in rules.REQUIRED_TERMS[kind]:
            said[0] = "–"
        if said[0] != said[1]:
            found.append(Change(str(TERMS[word]().label), *said))
    for word in CONDITIONS:
        said = [_condition(word, conditions.get(word), names) for conditions in (old_when, when)]
        if said[0] != said[1]:
            found.append(Change(_label(word), *said))
    return found


def _rate(before: Words, after: Words) -> list[Change]:
    """How many points an amount gives: of each euro where both speak of one."""
    cents = {terms.get("per_cents") for terms in (before, after) if terms}
    if cents == {100}:
        label = _t("Points for each %(amount)s") % {"amount": money(100)}
        said = [_number(terms["points"]) if terms else "–" for terms in (before, after)]
    else:
        label = _t("Points")
        said = [_then(rules.BASE, terms) if terms else "–" for terms in (before, after)]
    return [Change(label, *said)] if said[0] != said[1] else []


def _label(word: str) -> str:
    return str(VersionForm.base_fields[f"conditions_{word}"].label)


def _condition(word: str, value: Any, names: Names) -> str:
    if not value and value != 0:
        return str(UNSAID.get(word, EVERYTHING))
    if word == "stores":
        return names.stores_called(list(value))
    if word == "tiers":
        return ", ".join(map(names.tier, value))
    if word == "segments":
        return names.segments_called(value)
    if word == "channels":
        return ", ".join(str(Till.Channel(channel).label) for channel in value)
    if word == "dates":
        return ", ".join(map(days_in_words, value))
    if word == "weekdays":
        return ", ".join(str(WEEKDAYS[day]) for day in value)
    if word == "hours":
        start, end = (time_format(time.fromisoformat(text), "TIME_FORMAT") for text in value)
        return _t("from %(start)s to %(end)s") % {"start": start, "end": end}
    if word == "min_total_cents":
        return money(value)
    return ", ".join(map(str, value))


def _choices(word: str) -> list[tuple[str, Any]]:
    return list(TERMS[word]().choices)


def _term(word: str, value: Any) -> str:
    if word in rules.CHOICES:
        return str(dict(_choices(word))[value or rules.CHOICES[word][0]])
    if word == "for_tier":
        return _t("yes") if value else _t("no")
    if value is None or (word == "pending_days" and not value):
        return str(UNSAID.get(word, NOTHING))
    return str(value) if word in ("action", "expiry_day") else _number(value)


def signed(points: int) -> str:
    """Points with their sign, as the reader writes numbers; nothing is nothing."""
    sign = "+" if points > 0 else "−" if points else ""
    return f"{sign}{number_format(abs(points), force_grouping=True)}"


def _number(value: Any) -> str:
    return number_format(value, force_grouping=True)


# --- Why a rule gave nothing ----------------------------------------------------------------------------------------


# By the condition that failed: what was wanted, and what was found.
SILENT = {
    "stores": _("only in %(wanted)s; this basket is of %(found)s"),
    "channels": _("only sold %(wanted)s; this basket is sold %(found)s"),
    "segments": _("only for the segment %(wanted)s, which this member is not in"),
    "tiers": _("only at the tier %(wanted)s; here it is %(found)s"),
    "dates": _("only in the period %(wanted)s; at the store it is %(found)s"),
    "weekdays": _("only on %(wanted)s; here it is %(found)s"),
    "hours": _("only %(wanted)s; at the store it is %(found)s"),
    "payments": _("only paid with %(wanted)s; here it is %(found)s"),
    "min_total_cents": _("only from %(wanted)s on; the basket comes to %(found)s"),
    "categories": _("only for the category %(wanted)s: no line that is paid for is of it"),
    "skus": _("only for the article %(wanted)s: no line that is paid for is of it"),
    "except_categories": _("every line is left out: %(wanted)s"),
    "except_skus": _("every line is left out: %(wanted)s"),
}
FOUND: dict[str, Callable[[rules.Ticket, Names], object]] = {
    "stores": lambda ticket, names: names.stores_called([ticket.store]),
    "channels": lambda ticket, _names: Till.Channel(ticket.channel).label,
    "tiers": lambda ticket, names: names.tier(ticket.tier),
    "dates": lambda ticket, _names: date_format(ticket.local_time.date(), "SHORT_DATE_FORMAT"),
    "weekdays": lambda ticket, _names: WEEKDAYS[ticket.local_time.weekday()],
    "hours": lambda ticket, _names: time_format(ticket.local_time.time(), "H:i:s"),
    "payments": lambda ticket, _names: ticket.payment or _t("not said"),
    "min_total_cents": lambda ticket, _names: money(ticket.total_cents),
}


def why_silent(
    step: rules.Step, rule: rules.RuleTerms, ticket: rules.Ticket, names: Names, *, has_base: bool
) -> str:
    """The first condition of the rule that the ticket does not meet, with what was wanted and what was found."""
    word = str(step["why"])
    if word not in rule.conditions:
        return _beaten(rule, has_base=has_base)
    told = {"wanted": _condition(word, rule.conditions[word], names)}
    if word in FOUND:
        told["found"] = str(FOUND[word](ticket, names))
    return str(SILENT[word]) % told


def _beaten(rule: rules.RuleTerms, *, has_base: bool) -> str:
    if not has_base:
        return _t("no rule gives points for the amount of this basket, so nothing multiplies or adds to it")
    if rule.kind == rules.BASE:
        return _t("another rule for the amount stands before it")
    if rule.kind == rules.MULTIPLIER:
        return _t("a better multiplier wins on its lines, or they earn nothing")
    return _t("none of its lines is paid for")
