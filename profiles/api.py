"""What back offices and BI tools may read of people and purchases. Nothing is written here.

Roles say who may read which table, the scope which rows: a store manager sees the customers the store knows, its own
tickets, and nothing of what happened elsewhere. People and sources are named by ids that survive: a merged customer's
id answers with a redirect to the one it lives on in.
"""

from collections.abc import Sequence

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework import viewsets as rest
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.response import Response

from profiles import consent, normalise, search
from profiles.models import (
    ConsentChange,
    Identifier,
    Merge,
    Profile,
    ProfileFacts,
    ProfileStore,
    Purchase,
    PurchaseLine,
    Refund,
    Source,
    SourceRecord,
)
from tenants.network.models import Store


class StrictFilterSet(filters.FilterSet):
    """Refuses a parameter nobody knows: a filter with a slip of the pen must not answer with everything."""

    def is_valid(self) -> bool:
        page = PageNumberPagination.page_query_param, "page_size", "format"
        unknown = [name for name in self.data if name not in self.filters and name not in page]
        if unknown:
            known = ", ".join(sorted(self.filters))
            raise ValidationError({name: [_("unknown filter; known are %s") % known] for name in unknown})
        return super().is_valid()


def stores_in_scope(request) -> QuerySet[Store]:
    return Store.objects.all()


# --- Customers ------------------------------------------------------------------------------------------------------


class AddressSerializer(serializers.Serializer):
    street = serializers.CharField()
    postcode = serializers.CharField()
    city = serializers.CharField()


class ConsentSerializer(serializers.Serializer):
    channel = serializers.CharField()
    granted = serializers.BooleanField()
    at = serializers.DateTimeField()


class ProfileSerializer(serializers.ModelSerializer):
    id = serializers.CharField(source="public_id", help_text="Opaque; survives merges.")
    address = AddressSerializer(source="*")
    home_store = serializers.CharField(
        source="home_store_code",
        allow_null=True,
        help_text="Store code; null for who sees a part of the network.",
    )
    consents = serializers.SerializerMethodField()
    merged_into = serializers.CharField(source="survivor_id", allow_null=True)
    known_since = serializers.DateTimeField(help_text="When the network, or your stores, first met them.")

    class Meta:
        model = Profile
        fields = (
            "id", "first_name", "last_name", "birth_date", "email", "phone", "address", "home_store", "consents",
            "merged_into", "known_since",
        )  # fmt: skip

    @extend_schema_field(ConsentSerializer(many=True))
    def get_consents(self, profile: Profile) -> list[dict]:
        now = self.context["consents"].get(profile.pk, {})
        return [
            {"channel": channel, "granted": now[channel].granted, "at": now[channel].at}
            for channel in sorted(now)
        ]


class ProfileFilter(StrictFilterSet):
    search = filters.CharFilter(
        method="by_words",
        label="Words, a phone, an e-mail, a card or a town, written anyhow; all must be found.",
    )
    email = filters.CharFilter(method="by_email", label="Exact address, compared as mailboxes are.")
    known_since = filters.IsoDateTimeFilter(field_name="known_since", lookup_expr="gte")
    updated_since = filters.IsoDateTimeFilter(
        method="by_news", label="Told of, bought, changed a consent, merged or separated since then."
    )
    store = filters.ModelChoiceFilter(
        queryset=stores_in_scope,
        to_field_name="code",
        method="by_store",
        label="Code of a store that knows them.",
    )
    merged = filters.BooleanFilter(method="by_merge", label="Merged customers instead of living ones.")

    class Meta:
        model = Profile
        fields = ()

    def filter_queryset(self, queryset):
        if self.form.cleaned_data.get("merged") is None:
            queryset = queryset.filter(merged_into=None)
        return super().filter_queryset(queryset)

    def by_words(self, queryset, name, typed):
        return search.narrowed(queryset, typed)

    def by_email(self, queryset, name, value):
        address = normalise.email(value)
        if address is None:
            raise ValidationError({name: [_("«%s» is no usable e-mail address") % value[:80]]})
        return queryset.filter(
            pk__in=Identifier.objects.filter(kind=Identifier.Kind.EMAIL, key=address.key).values("profile")
        )

    def by_news(self, queryset, name, moment):
        told = SourceRecord.objects.filter(received_at__gte=moment).values("profile")
        bought = Purchase.objects.filter(received_at__gte=moment, profile__isnull=False).values("profile")
        decided = ConsentChange.objects.filter(at__gte=moment).values("profile")
        merges = Merge.objects.filter(Q(at__gte=moment) | Q(undone_at__gte=moment))
        return queryset.filter(
            Q(known_since__gte=moment)
            | Q(pk__in=told)
            | Q(pk__in=bought)
            | Q(pk__in=decided)
            | Q(pk__in=merges.values("winner"))
            | Q(pk__in=merges.values("loser"))
        )

    def by_store(self, queryset, name, store):
        return queryset.filter(pk__in=ProfileStore.objects.filter(store=store).values("profile"))

    def by_merge(self, queryset, name, merged):
        return queryset.filter(merged_into__isnull=not merged)


class ProfileViewSet(rest.ReadOnlyModelViewSet):
    """Customers, by their public id."""

    queryset = Profile.objects.annotate(
        home_store_code=Subquery(ProfileFacts.objects.filter(pk=OuterRef("pk")).values("home_store__code")),
        survivor_id=Subquery(Profile.objects.filter(pk=OuterRef("merged_into")).values("public_id")),
    )
    serializer_class = ProfileSerializer
    filterset_class = ProfileFilter
    lookup_field = "public_id"
    lookup_value_converter = "uuid"
    _people: Sequence[Profile] = ()  # of the page being answered: their consents are read at once

    def get_queryset(self):
        return super().get_queryset().annotate(known_since=Profile.known_since())

    def paginate_queryset(self, queryset):
        page = super().paginate_queryset(queryset)
        self._people = page
        return page

    def get_serializer_context(self):
        return super().get_serializer_context() | {
            "consents": consent.of_profiles(p.pk for p in self._people)
        }

    @extend_schema(
        responses={
            200: ProfileSerializer,
            308: OpenApiResponse(OpenApiTypes.OBJECT, "Merged: the survivor's id, its address in Location."),
        }
    )
    def retrieve(self, request, *args, **kwargs):
        survivor = Profile.reached_by(public_id=kwargs["public_id"])
        if survivor and survivor.public_id != kwargs["public_id"]:
            address = reverse("api:profiles-detail", args=[survivor.public_id])
            body = {"id": str(kwargs["public_id"]), "merged_into": str(survivor.public_id)}
            return Response(body, status=308, headers={"Location": address})
        profile = self.get_object()
        self._people = [profile]
        return Response(self.get_serializer(profile).data)


# --- Purchases ------------------------------------------------------------------------------------------------------


class PurchaseLineSerializer(serializers.ModelSerializer):
    class Meta:
        model = PurchaseLine
        fields = ("number", "sku", "label", "category", "quantity", "amount_cents", "discount_cents")


class PurchaseSerializer(serializers.ModelSerializer):
    id = serializers.CharField(source="pk")
    store = serializers.CharField(source="store.code")
    till = serializers.CharField(source="till.code")
    profile = serializers.CharField(source="profile.public_id", allow_null=True, default=None)
    currency = serializers.SerializerMethodField()
    refunded_cents = serializers.IntegerField()
    lines = PurchaseLineSerializer(many=True)

    class Meta:
        model = Purchase
        fields = (
            "id", "store", "till", "business_day", "receipt_id", "bought_at", "profile", "total_cents",
            "refunded_cents", "currency", "payment", "lines",
        )  # fmt: skip

    def get_currency(self, purchase: Purchase) -> str:
        return connection.tenant.currency


class PurchaseFilter(StrictFilterSet):
    store = filters.ModelChoiceFilter(queryset=stores_in_scope, to_field_name="code", label="Store code.")
    day_from = filters.DateFilter(field_name="business_day", lookup_expr="gte", label="First business day.")
    day_to = filters.DateFilter(
        field_name="business_day", lookup_expr="lte", label="Last business day, included."
    )
    received_since = filters.IsoDateTimeFilter(field_name="received_at", lookup_expr="gte")
    category = filters.CharFilter(method="by_category", label="With a line of this category.")
    profile = filters.UUIDFilter(method="by_profile", label="A customer's id.")

    class Meta:
        model = Purchase
        fields = ()

    def by_category(self, queryset, name, category):
        lines = PurchaseLine.objects.filter(category=category)
        if not lines.exists():
            raise ValidationError({name: [_("no purchase has the category «%s»") % category[:60]]})
        return queryset.filter(Exists(lines.filter(purchase=OuterRef("pk"))))

    def by_profile(self, queryset, name, public_id):
        profile = Profile.reached_by(public_id=public_id)
        if profile is None:
            raise ValidationError({name: [_("no customer has this id")]})
        return queryset.filter(profile=profile)


class PurchaseViewSet(rest.ReadOnlyModelViewSet):
    """Tickets with their lines; amounts are integers in the currency's minor unit."""

    queryset = (
        Purchase.objects.select_related("store", "till", "profile")
        .prefetch_related("lines")
        .annotate(
            refunded_cents=Coalesce(
                Subquery(
                    Refund.objects.filter(purchase=OuterRef("pk"))
                    .order_by()
                    .values("purchase")
                    .annotate(cents=Sum("total_cents"))
                    .values("cents")
                ),
                0,
            )
        )
    )
    serializer_class = PurchaseSerializer
    filterset_class = PurchaseFilter
    lookup_value_converter = "int"


# --- Sources --------------------------------------------------------------------------------------------------------


class SourceSerializer(serializers.ModelSerializer):
    id = serializers.CharField(source="code")

    class Meta:
        model = Source
        fields = ("id", "name", "kind", "trust")


class SourceFilter(StrictFilterSet):
    class Meta:
        model = Source
        fields = ("kind",)


class SourceViewSet(rest.ReadOnlyModelViewSet):
    """The systems that tell us about people, by their codes."""

    queryset = Source.objects.all()
    serializer_class = SourceSerializer
    filterset_class = SourceFilter
    lookup_field = "code"
    lookup_value_converter = "slug"


viewsets = [("profiles", ProfileViewSet), ("purchases", PurchaseViewSet), ("sources", SourceViewSet)]
