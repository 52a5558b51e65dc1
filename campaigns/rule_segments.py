"""What rules of the programme may ask about: national segments, as `loyalty.segments` reads them."""

from django.db.models import QuerySet
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from campaigns import audience
from campaigns.models import Segment, SegmentVersion
from campaigns.segments.language import SegmentError
from loyalty.segments import Unreadable
from profiles.models import Profile


class NationalSegments:
    """The `Directory` of the programme. A store's own segment is asked inside that store, and a rule is not."""

    def names(self) -> dict[int, str]:
        return dict(Segment.objects.filter(store=None).order_by("name").values_list("pk", "name"))

    def members(self, segment_id: int) -> QuerySet[Profile]:
        segment = Segment.objects.filter(pk=segment_id, store=None).first()
        if segment is None:
            raise Unreadable(_("there is no national segment of this number"))
        try:
            return audience.members(segment.current)
        except SegmentVersion.DoesNotExist:
            raise Unreadable(_("«%(segment)s» has no conditions yet") % {"segment": segment}) from None
        except SegmentError as error:
            told = {"segment": segment, "reason": error.told(get_language() or "en")}
            raise Unreadable(_("«%(segment)s» cannot be read: %(reason)s") % told) from error
