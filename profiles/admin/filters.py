"""The filters of the lists of people and tickets. The first page counts with the same words."""

from datetime import date, timedelta

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles.models import Channel, Profile, ProfileFacts
from tenants.network.models import Region

RECENT_DAYS = 30


def first_known_since(people: QuerySet, day: date) -> QuerySet:
    """People whom the network, or inside a store's scope that store, first met after that day."""
    return people.annotate(first_met=Profile.known_since()).filter(first_met__date__gt=day)


def _recently() -> date:
    return timezone.localdate() - timedelta(days=RECENT_DAYS)


class MergedFilter(SimpleListFilter):
    """Profiles that live on in another one are left out unless asked for."""

    title = _("merged profiles")
    parameter_name = "merged"

    def lookups(self, request, model_admin):
        return [("only", _("only these"))]

    def choices(self, changelist):
        yield {
            "selected": self.value() is None,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": _("hidden"),
        }
        yield {
            "selected": self.value() == "only",
            "query_string": changelist.get_query_string({self.parameter_name: "only"}),
            "display": _("only these"),
        }

    def queryset(self, request, queryset):
        return queryset.filter(merged_into__isnull=self.value() != "only")


class KnownFilter(SimpleListFilter):
    title = _("first met")
    parameter_name = "known"

    def lookups(self, request, model_admin):
        return [("recent", _("in the last 30 days"))]

    def queryset(self, request, queryset):
        return first_known_since(queryset, _recently()) if self.value() == "recent" else queryset


class ReachFilter(SimpleListFilter):
    """Who may be contacted: consent given, and for e-mail and text messages somewhere to send them."""

    title = _("may be reached by")
    parameter_name = "reach"

    def lookups(self, request, model_admin):
        return [*Channel.choices, ("none", _("no channel"))]

    def queryset(self, request, queryset):
        if self.value() == "none":
            allowed = ProfileFacts.objects.filter(email_allowed=False, sms_allowed=False, post_allowed=False)
            return queryset.filter(pk__in=allowed.values("pk"))
        if self.value() not in Channel.values:
            return queryset
        allowed = ProfileFacts.objects.filter(**{f"{self.value()}_allowed": True})
        address = {Channel.EMAIL: "email", Channel.SMS: "phone", Channel.POST: "street"}[self.value()]
        return queryset.filter(pk__in=allowed.values("pk")).exclude(**{address: ""})


class HomeRegionFilter(SimpleListFilter):
    title = _("home region")
    parameter_name = "region"

    def lookups(self, request, model_admin):
        return [(str(pk), name) for pk, name in Region.objects.values_list("pk", "name")]

    def queryset(self, request, queryset):
        if not (self.value() or "").isdecimal():
            return queryset
        return queryset.filter(pk__in=ProfileFacts.objects.filter(home_region=int(self.value())).values("pk"))


class PeriodFilter(SimpleListFilter):
    title = _("period")
    parameter_name = "period"

    def lookups(self, request, model_admin):
        return [("recent", _("the last 30 days"))]

    def queryset(self, request, queryset):
        return queryset.filter(business_day__gt=_recently()) if self.value() == "recent" else queryset


class CustomerFilter(SimpleListFilter):
    title = _("customer")
    parameter_name = "customer"

    def lookups(self, request, model_admin):
        return [("known", _("identified")), ("unknown", _("anonymous"))]

    def queryset(self, request, queryset):
        if self.value() in ("known", "unknown"):
            return queryset.filter(profile__isnull=self.value() == "unknown")
        return queryset
