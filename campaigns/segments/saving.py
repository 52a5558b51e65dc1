"""Keep a segment's conditions: each save is a new version with its author and reason; one in use is not removed."""

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.models import Campaign, Segment, SegmentVersion
from campaigns.segments.compiler import check_codes, read, to_queryset
from campaigns.segments.language import to_json
from loyalty import segments as asked_by_rules
from tenants.network.models import audit
from tenants.scoping import Scope, current_scope, scoped_to, whole_network


class SegmentInUse(ValueError):
    """The segment cannot be removed; `users` says by what it is used."""

    def __init__(self, users: list[str]):
        self.users = users
        super().__init__(_("This segment is used by: %(users)s.") % {"users": ", ".join(users)})


@transaction.atomic
def save(segment: Segment, definition: object, by, reason: str = "") -> SegmentVersion:
    """Add a version with these conditions (JSON), or return the current one if they are the same.

    Saves the segment itself if it is new. Raises `SegmentError` if the conditions cannot be read, name a code that
    is not known, or use a word that the segment's store may not.
    """
    tree = read(definition)
    scope = Scope.of([segment.store_id]) if segment.store_id else current_scope()
    with scoped_to(scope):
        check_codes(tree)
        to_queryset(tree)
    if segment.pk is None:
        segment.created_by = segment.created_by or by
        segment.save()
    Segment._base_manager.select_for_update().get(pk=segment.pk)  # two savers number their versions in turn
    newest = segment.versions.order_by("-number").first()
    written = to_json(tree)
    if newest is not None and newest.definition == written:
        return newest
    version = SegmentVersion.objects.create(
        segment=segment,
        number=newest.number + 1 if newest else 1,
        definition=written,
        reason=reason,
        made_by=by,
    )
    audit(by, "save", segment, reason=reason, store_id=segment.store_id, version=version.number)
    if segment.pk in asked_by_rules.in_use():
        asked_by_rules.read([segment.pk])
    return version


def used_by(segment: Segment) -> list[str]:
    """What rests on the segment: rules of the programme, the campaigns in scope by name, and how many beside them."""
    rules = [_("the rule %(rule)s") % {"rule": name} for name in asked_by_rules.rules_that_ask(segment.pk)]
    names = rules + sorted(Campaign.objects.filter(segment=segment).values_list("name", flat=True))
    with whole_network():
        others = Campaign.objects.filter(segment=segment).count() - len(names) + len(rules)
    if others:
        # A store may know that its segment is in use, not what head office or another store calls its campaign.
        said = ngettext("%(count)s campaign elsewhere", "%(count)s campaigns elsewhere", others)
        names.append(said % {"count": others})
    return names


@transaction.atomic
def remove(segment: Segment, by) -> None:
    """Delete the segment and its versions. Raises `SegmentInUse`."""
    users = used_by(segment)
    if users:
        raise SegmentInUse(users)
    audit(by, "delete", segment, store_id=segment.store_id, name=segment.name)
    segment.delete()
