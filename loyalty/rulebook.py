"""Which rules held when: versions are read once and answer for any instant; a late ticket is judged as on its day."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction
from django.utils import timezone

from loyalty import rules, segments
from loyalty.models import Programme, Rule, RuleVersion, Tier
from tenants.network.models import Staff, audit


class NoProgramme(LookupError):
    """The brand has not set up its loyalty programme yet."""


@dataclass(frozen=True)
class Rulebook:
    """The programme as read at one time: every rule version, and the tiers' thresholds."""

    programme: Programme
    versions: tuple[tuple[datetime, datetime | None, rules.RuleTerms], ...]
    thresholds: dict[str, int]

    @classmethod
    def load(cls) -> "Rulebook":
        """As it stands now. Raises `NoProgramme`."""
        programme = Programme.objects.first()
        if programme is None:
            _remembered.pop(connection.schema_name, None)
            raise NoProgramme("no loyalty programme is set up")
        known = _remembered.get(connection.schema_name)
        if known and (known.programme.pk, known.programme.edition) == (programme.pk, programme.edition):
            return known
        # The edition is read first: what changes while the rest is read makes it another one.
        versions = tuple(
            (v.effective_from, v.effective_to, _terms(v)) for v in RuleVersion.objects.select_related("rule")
        )
        book = cls(programme, versions, dict(Tier.objects.values_list("code", "threshold")))
        _remembered[connection.schema_name] = book
        return book

    @classmethod
    def remembered(cls) -> "Rulebook":
        """As it stood when this process last read it: for who has the database compare the edition.

        Raises `NoProgramme`.
        """
        return _remembered.get(connection.schema_name) or cls.load()

    def at(self, instant: datetime) -> list[rules.RuleTerms]:
        """The rule versions in force: from their start, included, to their end, excluded."""
        return [
            terms
            for start, end, terms in self.versions
            if start <= instant and (end is None or instant < end)
        ]


# By schema. A rulebook is one edition of one programme, and the database gives no edition twice.
_remembered: dict[str, Rulebook] = {}


def _terms(version: RuleVersion) -> rules.RuleTerms:
    rule = version.rule
    return rules.RuleTerms(
        rule.code, version.number, rule.kind, rule.priority, version.conditions, version.terms
    )


@transaction.atomic
def publish(
    rule: Rule, conditions: dict, terms: dict, *, reason: str = "", by: Staff | None = None,
    effective_from: datetime | None = None,
) -> RuleVersion:  # fmt: skip
    """Give the rule a new version and end the one before it. Raises `rules.InvalidRule`."""
    check(rule.kind, conditions, terms)
    rule = Rule.objects.select_for_update().get(pk=rule.pk)
    start = effective_from or timezone.now()
    last = rule.versions.order_by("-number").first()
    if last and last.effective_to is None:
        if last.effective_from >= start:
            raise rules.InvalidRule("effective_from", "must lie after the start of the version before")
        last.effective_to = start
        last.save(update_fields=["effective_to"])
    version = RuleVersion.objects.create(
        rule=rule, number=last.number + 1 if last else 1, effective_from=start,
        conditions=conditions, terms=terms, reason=reason, made_by=by,
    )  # fmt: skip
    audit(by or "system", "published", version, reason=reason)
    segments.read(conditions.get("segments", ()))
    return version


def check(kind: str, conditions: dict, terms: dict) -> None:
    """`rules.validate`, and whether the segments can be evaluated. Raises `rules.InvalidRule`."""
    rules.validate(kind, conditions, terms)
    for pk in conditions.get("segments", ()):
        if wrong := segments.trouble(pk):
            raise rules.InvalidRule("conditions.segments", wrong)
