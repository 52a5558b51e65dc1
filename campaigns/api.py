"""What back offices and BI tools may read of segments, campaigns and exports. Nothing is written here.

A count is made anew inside the caller's scope: a store asking about a shared segment is told its own part.
"""

from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework import viewsets as rest
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.response import Response

from campaigns import attribution, audience
from campaigns.models import Campaign, Export, Segment, SegmentVersion
from campaigns.segments.language import SegmentError
from profiles.api import StrictFilterSet, stores_in_scope

# --- Segments -------------------------------------------------------------------------------------------------------


class SegmentSerializer(serializers.ModelSerializer):
    store = serializers.CharField(source="store.code", allow_null=True, default=None)
    version = serializers.SerializerMethodField(
        help_text="Number of the newest version; null without conditions."
    )
    definition = serializers.SerializerMethodField(
        help_text="The newest conditions, in the segment language."
    )
    sentence = serializers.SerializerMethodField(
        help_text="The conditions in words of the caller's language."
    )

    class Meta:
        model = Segment
        fields = (
            "id", "name", "description", "store", "shared", "created_at", "version", "definition", "sentence",
        )  # fmt: skip

    def get_version(self, segment: Segment) -> int | None:
        newest = _newest(segment)
        return newest.number if newest else None

    @extend_schema_field({"type": "object", "nullable": True})
    def get_definition(self, segment: Segment) -> dict | None:
        newest = _newest(segment)
        return newest.definition if newest else None

    def get_sentence(self, segment: Segment) -> str:
        newest = _newest(segment)
        if newest is None:
            return ""
        with audience.inside(segment):
            return audience.sentence(newest, get_language() or "en")


def _newest(segment: Segment) -> SegmentVersion | None:
    versions = segment.versions.all()  # prefetched, the newest first
    return versions[0] if versions else None


class ReachSerializer(serializers.Serializer):
    channel = serializers.CharField()
    reachable = serializers.IntegerField()
    no_consent = serializers.IntegerField()
    no_address = serializers.IntegerField()


class StoreShareSerializer(serializers.Serializer):
    code = serializers.CharField(help_text="Empty for customers without a home store.")
    name = serializers.CharField()
    people = serializers.IntegerField()


class CountsSerializer(serializers.Serializer):
    version = serializers.IntegerField()
    matching = serializers.IntegerField()
    base = serializers.IntegerField(help_text="All customers in the caller's scope.")
    reach = ReachSerializer(many=True)
    per_store = StoreShareSerializer(many=True)


class SegmentFilter(StrictFilterSet):
    store = filters.ModelChoiceFilter(queryset=stores_in_scope, to_field_name="code", label="Store code.")
    national = filters.BooleanFilter(field_name="store", lookup_expr="isnull")
    name = filters.CharFilter(lookup_expr="icontains")

    class Meta:
        model = Segment
        fields = ("shared",)


class SegmentViewSet(rest.ReadOnlyModelViewSet):
    """Segments with their newest conditions."""

    queryset = Segment.objects.select_related("store").prefetch_related("versions")
    serializer_class = SegmentSerializer
    filterset_class = SegmentFilter
    lookup_value_converter = "int"

    @extend_schema(responses=CountsSerializer)
    @action(detail=True, filterset_class=None, pagination_class=None)
    def count(self, request, **kwargs):
        """How many match now, are reachable on each channel, and go with which store."""
        segment = self.get_object()
        newest = _newest(segment)
        if newest is None:
            raise NotFound(_("The segment has no conditions yet."))
        try:
            with audience.inside(segment):
                counts = audience.count(newest)
        except SegmentError as error:
            raise ValidationError({error.path: [error.told(get_language() or "en")]}) from error
        body = {
            "version": newest.number, "matching": counts.matching, "base": counts.base, "reach": counts.reach,
            "per_store": counts.per_store,
        }  # fmt: skip
        return Response(CountsSerializer(body).data)


# --- Campaigns ------------------------------------------------------------------------------------------------------


class CampaignSerializer(serializers.ModelSerializer):
    store = serializers.CharField(source="store.code", allow_null=True, default=None)
    segment_version = serializers.IntegerField(source="segment_version.number", allow_null=True, default=None)

    class Meta:
        model = Campaign
        fields = (
            "id", "name", "segment", "segment_version", "channel", "goal", "goal_days", "goal_uplift",
            "control_percent", "state", "store", "created_at", "frozen_at",
        )  # fmt: skip


class ArmSerializer(serializers.Serializer):
    people = serializers.IntegerField()
    buyers = serializers.IntegerField()
    conversion = serializers.FloatField(help_text="Percent.")
    mean_cents = serializers.IntegerField(help_text="Net turnover a person of the arm.")


class LiftSerializer(serializers.Serializer):
    difference = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()


class ResultsSerializer(serializers.Serializer):
    treated = ArmSerializer()
    control = ArmSerializer()
    lift = LiftSerializer(
        allow_null=True, help_text="With its 95 % interval; points for visits, currency units for turnover."
    )
    verdict = serializers.ChoiceField(["met", "not_met", "inconclusive", "no_control"])
    closes_at = serializers.DateTimeField()
    closed = serializers.BooleanField(
        help_text="Whether the goal's window is over: before, results are provisional."
    )


class CampaignFilter(StrictFilterSet):
    store = filters.ModelChoiceFilter(queryset=stores_in_scope, to_field_name="code", label="Store code.")
    frozen_since = filters.IsoDateTimeFilter(field_name="frozen_at", lookup_expr="gte")

    class Meta:
        model = Campaign
        fields = ("state", "channel", "segment")


class CampaignViewSet(rest.ReadOnlyModelViewSet):
    """Campaigns and what they brought."""

    queryset = Campaign.objects.select_related("store", "segment_version")
    serializer_class = CampaignSerializer
    filterset_class = CampaignFilter
    lookup_value_converter = "int"

    @extend_schema(responses=ResultsSerializer)
    @action(detail=True, filterset_class=None, pagination_class=None)
    def results(self, request, **kwargs):
        """The addressed beside those held back, inside the caller's scope."""
        try:
            return Response(ResultsSerializer(attribution.results(self.get_object())).data)
        except attribution.NotFrozen as error:
            raise NotFound(_("The audience is not frozen yet.")) from error


# --- Exports --------------------------------------------------------------------------------------------------------


class ExportSerializer(serializers.ModelSerializer):
    store = serializers.CharField(source="store.code", allow_null=True, default=None)
    asked_by = serializers.CharField(source="asked_by.full_name", allow_null=True, default=None)
    state = serializers.CharField(source="job.state", allow_null=True, default=None)

    class Meta:
        model = Export
        fields = (
            "id", "campaign", "segment_version", "format", "columns", "rows", "sha256", "file_name", "purpose", "store",
            "asked_by", "asked_at", "finished_at", "state",
        )  # fmt: skip


class ExportFilter(StrictFilterSet):
    asked_since = filters.IsoDateTimeFilter(field_name="asked_at", lookup_expr="gte")

    class Meta:
        model = Export
        fields = ("campaign", "format")


class ExportViewSet(rest.ReadOnlyModelViewSet):
    """Files that left: what was in them, who asked and why. The files themselves are fetched in the admin."""

    queryset = Export.objects.select_related("store", "asked_by", "job")
    serializer_class = ExportSerializer
    filterset_class = ExportFilter
    lookup_value_converter = "int"


viewsets = [("segments", SegmentViewSet), ("campaigns", CampaignViewSet), ("exports", ExportViewSet)]
