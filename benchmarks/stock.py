"""What the till is compared with: recording a purchase as one writes it with Django REST framework and the ORM, without
a thought of speed. Serializers, one query after the other, one `create()` a row; the same rules, rows and promises.
"""

from datetime import timedelta

from django.db import transaction
from django.urls import path
from django.utils import timezone
from rest_framework import authentication, exceptions, generics, serializers

from loyalty import rules
from loyalty.models import Account, Lot, Membership, Posting, Tier, TillRequest, Transaction
from loyalty.models import RuleVersion as Version
from profiles.models import Identifier, ProfileFacts, Purchase, PurchaseLine
from tenants.network.models import KEY_PREFIX_LENGTH, Till, hash_of_key
from tenants.scoping import enter, whole_network


class TillKey(authentication.BaseAuthentication):
    def authenticate(self, request):
        key = request.headers.get("Authorization", "").removeprefix("Till ")
        with whole_network():
            till = Till.objects.select_related("store").filter(key_prefix=key[:KEY_PREFIX_LENGTH]).first()
        if till is None or till.key_hash != hash_of_key(key):
            raise exceptions.AuthenticationFailed
        enter(till.scope)
        return till, till


class LineSerializer(serializers.Serializer):
    sku = serializers.CharField(max_length=40)
    label = serializers.CharField(max_length=120, required=False, default="")
    category = serializers.CharField(max_length=60, required=False, default="")
    quantity = serializers.DecimalField(max_digits=10, decimal_places=3, default=1)
    amount = serializers.DecimalField(max_digits=12, decimal_places=2)


class MemberSerializer(serializers.Serializer):
    card = serializers.CharField()


class PurchaseSerializer(serializers.Serializer):
    receipt_id = serializers.CharField(max_length=64)
    bought_at = serializers.DateTimeField()
    member = MemberSerializer()
    lines = LineSerializer(many=True)
    points = serializers.IntegerField(read_only=True)
    available = serializers.IntegerField(read_only=True)
    explanation = serializers.JSONField(read_only=True)

    @transaction.atomic
    def create(self, told):
        till = self.context["request"].auth
        known = Identifier.objects.select_related("profile").get(kind="card", key=told["member"]["card"])
        profile = known.profile
        day = told["bought_at"].astimezone(till.store.zone).date()
        cents = [int(line["amount"] * 100) for line in told["lines"]]
        purchase = Purchase.objects.create(
            store=till.store, till=till, business_day=day, receipt_id=told["receipt_id"],
            bought_at=told["bought_at"], profile=profile, identified_by=f"card:{known.key}",
            total_cents=sum(cents), content_hash="-",
        )  # fmt: skip
        for number, (line, amount) in enumerate(zip(told["lines"], cents, strict=True), start=1):
            PurchaseLine.objects.create(
                purchase=purchase, number=number, sku=line["sku"], label=line["label"],
                category=line["category"], quantity=line["quantity"], amount_cents=amount, store=till.store,
                profile=profile, business_day=day,
            )  # fmt: skip
        since = told["bought_at"] - timedelta(days=365)
        earned = Transaction.objects.filter(profile=profile, occurred_at__gt=since)
        tier = rules.tier_for(
            sum(earned.values_list("qualifying_points", flat=True)),
            dict(Tier.objects.values_list("code", "threshold")),
        )
        terms = [
            rules.RuleTerms(
                v.rule.code, v.number, v.rule.kind, v.rule.priority, v.conditions, v.terms
            )
            for v in Version.objects.select_related("rule").filter(effective_to=None)
        ]  # fmt: skip
        lines = [
            rules.Line(line["sku"], line["category"], amount)
            for line, amount in zip(told["lines"], cents, strict=True)
        ]
        judged = rules.points_for(rules.Ticket(told["bought_at"], till.store.code, tier, lines), terms)
        fact = Transaction.objects.create(
            key=f"earn:{purchase.pk}", kind="earn", profile=profile, store=till.store, purchase=purchase,
            occurred_at=told["bought_at"], posted_at=timezone.now(), qualifying_points=judged.points, tier=tier,
            explanation=judged.steps,
        )  # fmt: skip
        account = Account.objects.select_for_update().get(profile=profile, kind="available")
        issued, _new = Account.objects.get_or_create(store=till.store, kind="issued", profile=None)
        Posting.objects.create(transaction=fact, account=issued, points=-judged.points)
        Posting.objects.create(transaction=fact, account=account, points=judged.points)
        account.refresh_from_db()
        Lot.objects.create(
            transaction=fact, account=account, store=till.store, points=judged.points, remaining=judged.points,
            available_on=day, expires_on=judged.last_day(day),
        )  # fmt: skip
        facts = ProfileFacts.objects.get(profile=profile)
        facts.purchases += 1
        facts.spend_cents += sum(cents)
        facts.last_purchase_on = day
        facts.save()
        Membership.objects.get_or_create(profile=profile)
        answer = {**told, "points": judged.points, "available": account.balance, "explanation": judged.steps}
        TillRequest.objects.create(
            till=till, key=f"purchase:{day}:{told['receipt_id']}", request_hash="-", status=201,
            response={"points": judged.points, "available": account.balance},
        )  # fmt: skip
        return answer


class PurchaseView(generics.CreateAPIView):
    serializer_class = PurchaseSerializer
    authentication_classes = (TillKey,)
    permission_classes = ()

    def create(self, request, *args, **kwargs):
        with whole_network():
            return super().create(request, *args, **kwargs)


urlpatterns = [path("stock/purchases", PurchaseView.as_view())]
