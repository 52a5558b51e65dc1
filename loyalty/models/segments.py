"""The segments that rules ask about, and who is in them, as they were last read.

What a segment is stands above (`campaigns`); here is what was made of it, so that a till asks one index. A ticket is
judged by what stands here when it comes, and its transaction keeps what was found: a membership that changes later
changes no points.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _

from profiles.models import Profile
from tenants.scoping import NetworkWide, StoreScoped


class SegmentRead(NetworkWide):
    """When a segment was last read, or why it could not be. Its key is the segment's own id."""

    id = models.BigIntegerField(primary_key=True)
    read_at = models.DateTimeField(_("last read"), null=True, blank=True)
    failed_at = models.DateTimeField(_("last failure"), null=True, blank=True)
    error = models.CharField(
        _("error"), max_length=300, blank=True, help_text=_("The members as last read count meanwhile.")
    )

    class Meta:
        verbose_name = _("segment as rules know it")
        verbose_name_plural = _("segments as rules know them")

    def __str__(self) -> str:
        return str(self.pk)


class SegmentMember(StoreScoped):
    """A customer is in a segment since it was first read so."""

    segment = models.ForeignKey(
        SegmentRead, models.CASCADE, related_name="members", verbose_name=_("segment")
    )
    profile = models.ForeignKey(
        Profile, models.CASCADE, related_name="segments", verbose_name=_("customer"), db_index=False
    )
    since = models.DateTimeField(_("since"))

    class Meta:
        verbose_name = _("member of a segment")
        verbose_name_plural = _("members of segments")
        constraints = [models.UniqueConstraint(fields=["profile", "segment"], name="in_a_segment_once")]

    def __str__(self) -> str:
        return f"{self.segment_id} {self.profile_id}"

    @classmethod
    def visible_from(cls, stores):
        # Conditions may speak of the whole network: who is in is no store's to read.
        return models.Q(pk__in=[])
