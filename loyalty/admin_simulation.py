"""The simulator: what a basket would earn and why, and the simulations that are kept.

The simulator's address holds the whole question, so it can be sent to a colleague; asking changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import get_format, number_format
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from loyalty import drafts as drafting
from loyalty import owed, rule_words, rules, segments, simulation
from loyalty.admin_finance import Pages
from loyalty.models import Rule, RuleDraft, SavedSimulation, Tier
from loyalty.rule_words import Names
from loyalty.rulebook import NoProgramme, Rulebook
from loyalty.simulation import BadBasket, Basket, Item, Outcome
from profiles import search
from profiles.models import Profile, Purchase
from tenants.network.models import Store, Till, audit
from tenants.scoping import current_scope

PEOPLE_SHOWN = 10
FEWEST_ROWS, MORE_ROWS = 3, 3
OWN_TIER, WITHOUT_TIER = "", "-"
AS_THE_STORE = ""
ALL_DRAFTS = "all"
# What the address of a question is made of, in this order; of the lines each comes several times.
WORDS = ("customer", "tier", "store", "channel", "day", "time", "payment", "reward", "against", "ticket")
SEGMENTS = "segment"
LINE_WORDS = ("sku", "category", "quantity", "price")


class Amount(forms.DecimalField):
    """A number with a decimal comma or point, whatever the reader's language: addresses are sent around."""

    def to_python(self, value):
        if isinstance(value, str):
            value = value.replace("\u00a0", "").replace("\u202f", "").replace(" ", "").replace(",", ".")
        return super().to_python(value)


NUMBER = {"inputmode": "decimal"}


class LineForm(forms.Form):
    """A line of the basket. One without a price and an article is no line."""

    sku = forms.CharField(
        label=_("Article"),
        required=False,
        max_length=simulation.LONGEST_SKU,
        widget=UnfoldAdminTextInputWidget,
    )
    category = forms.CharField(
        label=_("Category"), required=False, max_length=simulation.LONGEST_CATEGORY, widget=UnfoldAdminTextInputWidget,
    )  # fmt: skip
    quantity = Amount(
        label=_("Quantity"),
        required=False,
        max_digits=10,
        decimal_places=3,
        widget=UnfoldAdminTextInputWidget(attrs=NUMBER),
    )
    price = Amount(
        label=_("Price of one"), required=False, max_digits=9, decimal_places=2,
        widget=UnfoldAdminTextInputWidget(attrs=NUMBER),
    )  # fmt: skip

    def __init__(self, number: int, data: dict[str, str]):
        super().__init__(data, auto_id=f"line-{number}-%s")
        self.number = number
        for name, each in self.fields.items():
            each.widget.attrs["aria-label"] = _t("%(what)s, line %(number)s") % {
                "what": each.label,
                "number": number,
            }
            each.widget.attrs["class"] = f"{each.widget.attrs.get('class', '')} simulator-{name}"

    @property
    def is_empty(self) -> bool:
        return not any(self.data.get(name, "").strip() for name in ("sku", "category", "price"))

    def clean_quantity(self):
        quantity = self.cleaned_data["quantity"]
        if quantity is not None and quantity <= 0:
            raise forms.ValidationError(_t("a quantity is more than zero"))
        return Decimal(1) if quantity is None else quantity

    def clean_price(self):
        if self.cleaned_data["price"] is None:
            raise forms.ValidationError(_t("What does one cost?"))
        return self.cleaned_data["price"]

    @property
    def item(self) -> Item:
        said = self.cleaned_data
        return Item.priced(said["sku"], said["category"], said["quantity"], said["price"])


class BasketForm(forms.Form):
    """Where, when and to whom the basket is sold, and by which rules it is judged."""

    store = forms.ModelChoiceField(
        Store.objects.none(), label=_("Store"), empty_label=None, widget=UnfoldAdminSelectWidget
    )
    day = forms.DateField(
        label=_("Day"), input_formats=["%Y-%m-%d"], widget=UnfoldAdminTextInputWidget(attrs={"type": "date"})
    )
    time = forms.TimeField(
        label=_("Time at the store"), input_formats=["%H:%M:%S", "%H:%M"],
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time", "step": "1"}),
    )  # fmt: skip
    tier = forms.ChoiceField(label=_("Tier"), required=False, widget=UnfoldAdminSelectWidget)
    reward = Amount(
        label=_("Of it paid with points or a voucher"), required=False, min_value=0, max_digits=9, decimal_places=2,
        widget=UnfoldAdminTextInputWidget(attrs=NUMBER),
    )  # fmt: skip
    payment = forms.CharField(
        label=_("The rest is paid with"), required=False, max_length=rules.LONGEST_PAYMENT,
        widget=UnfoldAdminTextInputWidget, help_text=_("The word that the till sends, such as card."),
    )  # fmt: skip
    channel = forms.ChoiceField(
        label=_("Sold"), required=False, widget=UnfoldAdminSelectWidget,
        choices=[(AS_THE_STORE, _("as this store sells")), *Till.Channel.choices],
    )  # fmt: skip
    segment = forms.TypedMultipleChoiceField(
        label=_("Segments of the new member"), required=False, coerce=int, widget=forms.CheckboxSelectMultiple
    )
    against = forms.ChoiceField(label=_("Judged by"), required=False, widget=UnfoldAdminSelectWidget)

    def __init__(
        self, data: dict[str, Any] | None, offered: Mapping[str, str], *, is_known: bool, initial: dict
    ):
        super().__init__(data, initial=initial)
        shops = set(Till.objects.filter(channel=Till.Channel.WEB).values_list("store", flat=True))
        # A member is in the segments they are in; of a new one it is said.
        named = {} if is_known else segments.names()
        ticked = {int(told) for told in (data or {}).get(SEGMENTS, ()) if _is_number(told)}
        self.fields[SEGMENTS].choices = [
            (pk, named[pk]) for pk in sorted((segments.in_use() | ticked) & named.keys())
        ]
        if not self.fields[SEGMENTS].choices:
            del self.fields[SEGMENTS]
        self.fields["store"].queryset = Store.objects.all()
        self.fields["store"].label_from_instance = lambda store: (
            _t("%(store)s (web shop)") % {"store": store} if store.pk in shops else str(store)
        )
        own = _t("the member's own") if is_known else _t("none: a new member")
        tiers = Tier.objects.values_list("code", "name")
        self.fields["tier"].choices = [
            (OWN_TIER, own), *([(WITHOUT_TIER, _t("no tier"))] if is_known else []), *tiers,
        ]  # fmt: skip
        if offered:
            self.fields["against"].choices = [("", _t("the rules in force then")), *offered.items()]
        else:
            del self.fields["against"]

    def clean_tier(self):
        """The code of a tier, "" for none; None: the member's own."""
        said = self.cleaned_data["tier"]
        return {OWN_TIER: None, WITHOUT_TIER: ""}.get(said, said)

    def instant(self) -> datetime:
        said = self.cleaned_data
        return datetime.combine(said["day"], said["time"], said["store"].zone)


@dataclass(frozen=True)
class ShownStep:
    """A rule that gave something, or took it: its name, why, and how many points."""

    name: str
    number: int
    why: str
    points: str


@dataclass(frozen=True)
class ShownSilence:
    name: str
    number: int
    why: str


@dataclass(frozen=True)
class ShownOutcome:
    """An outcome as the page shows it."""

    outcome: Outcome
    lines: list[tuple[Item, int]]
    steps: list[ShownStep]
    silent: list[ShownSilence]
    tier: str
    tier_after: str
    next_tier: tuple[str, int] | None
    rounding: str
    cost_cents: int
    is_expected: bool
    payers: list[tuple[str, int]]

    @classmethod
    def of(cls, outcome: Outcome, names: Names) -> "ShownOutcome":
        called = dict(Rule.objects.values_list("code", "name"))
        terms = {rule.code: rule for rule in outcome.in_force}
        steps = [
            ShownStep(
                called.get(str(step["rule"]), str(step["rule"])), int(step["version"]),
                str(rule_words.WHY.get(str(step["why"]), step["why"])), rule_words.signed(int(step["points"])),
            )
            for step in outcome.earned.steps
        ]  # fmt: skip
        silent = [
            ShownSilence(
                called.get(str(step["rule"]), str(step["rule"])), int(step["version"]),
                rule_words.why_silent(
                    step, terms[str(step["rule"])], outcome.ticket, names, has_base=bool(outcome.earned.steps)
                ),
            )
            for step in outcome.silent
        ]  # fmt: skip
        following = outcome.next_tier
        # How many points are never spent is head office's estimate: a store sees what they are worth.
        is_expected = current_scope().is_whole_network
        cost = outcome.expected_cents if is_expected else outcome.worth_cents
        return cls(
            outcome, list(zip(outcome.basket.items, outcome.lines, strict=True)), steps, silent,
            names.tier(outcome.ticket.tier), names.tier(outcome.tier_after),
            following and (names.tier(following[0]), following[1]), _rounding(outcome), cost,
            is_expected, _payers(outcome, cost),
        )  # fmt: skip


def _rounding(outcome: Outcome) -> str:
    base = next(
        (rule for rule in outcome.in_force if rule.kind == rules.BASE and _fired(outcome, rule.code)), None
    )
    if base is None:
        return ""
    told = {
        "exact": number_format(round(float(outcome.exact), 2), 2, force_grouping=True),
        "lost": number_format(round(float(outcome.rounded_away), 2), 2),
    }
    if not outcome.rounded_away:
        return _t("%(exact)s points exactly: nothing was rounded off") % told
    if base.terms.get("rounding") == rules.ROUND_LINE:
        return _t("%(exact)s points exactly; rounding down on each line takes %(lost)s off") % told
    return _t("%(exact)s points exactly; rounding down once a ticket takes %(lost)s off") % told


def _fired(outcome: Outcome, code: str) -> bool:
    return any(step["rule"] == code for step in outcome.earned.steps)


def _payers(outcome: Outcome, cost: int) -> list[tuple[str, int]]:
    """(who pays, cents) of the cost, without those who pay nothing."""
    names = owed.names()
    issuer = names.get(outcome.issuer_id, _t("the store that issues the points"))
    shared = outcome.prices.shared(cost)
    parties = (issuer, _t("the store where they are spent"), _t("Head office"))
    found: dict[str, int] = {}
    for party, cents in zip(parties, shared, strict=True):
        found[party] = found.get(party, 0) + cents
    return [(party, cents) for party, cents in found.items() if cents]


class Question:
    """What the address asks: the forms, filled in or at their beginning, and the member that it names."""

    def __init__(self, request: HttpRequest):
        asked = request.GET
        self.may_draft = request.user.has_perm("loyalty.view_rule")
        self.drafts = (
            list(RuleDraft.objects.select_related("rule").exclude(rule__kind=rules.ACTION))
            if self.may_draft
            else []
        )
        self.profile = _profile(asked.get("customer", ""))
        self.is_asked = "store" in asked
        self.words = asked.get("q", "").strip()[:200]
        offered = {
            str(draft.pk): _t("the draft of «%(rule)s»") % {"rule": draft.rule} for draft in self.drafts
        }
        if len(offered) > 1:
            offered[ALL_DRAFTS] = _t("all drafts together")
        first = Store.objects.filter(closed_on=None).first() or Store.objects.first()
        now = timezone.now().astimezone(first.zone) if first else timezone.localtime()
        initial = {
            "store": first, "day": now.date().isoformat(), "time": now.strftime("%H:%M:%S"),
            "against": asked.get("against", ""),
        }  # fmt: skip
        data: dict[str, Any] | None = None
        if self.is_asked:
            data = {name: asked.get(name, "") for name in WORDS} | {
                SEGMENTS: [told for told in asked.getlist(SEGMENTS) if told]
            }
        self.form = BasketForm(data, offered, is_known=self.profile is not None, initial=initial)
        self.rows = _rows(asked)
        self.purchase = _purchase(asked.get("ticket", ""))

    @property
    def filled(self) -> list[LineForm]:
        return [row for row in self.rows if not row.is_empty]

    def basket(self) -> Basket | None:
        """The basket that is asked about, if every field says something possible."""
        if not self.is_asked or not self.form.is_valid() or not all(row.is_valid() for row in self.filled):
            return None
        said = self.form.cleaned_data
        return Basket(
            said["store"], self.form.instant(), [row.item for row in self.filled], profile=self.profile,
            tier=said["tier"], reward_cents=int((said["reward"] or 0) * 100), purchase=self.purchase,
            payment=said["payment"], channel=said["channel"] or simulation.channel_of(said["store"]),
            segments=frozenset(said.get(SEGMENTS, ())),
        )  # fmt: skip

    def tried(self) -> list[RuleDraft]:
        """The drafts by which the basket is judged."""
        chosen = (
            self.form.cleaned_data.get("against", "") if self.form.is_bound and self.form.is_valid() else ""
        )
        return [draft for draft in self.drafts if chosen in (str(draft.pk), ALL_DRAFTS)]


def _profile(told: str) -> Profile | None:
    """A member in the scope of who asks, by their number."""
    return Profile.reached_by(pk=int(told)) if _is_number(told) else None


def _purchase(told: str) -> Purchase | None:
    return Purchase.objects.filter(pk=int(told)).first() if _is_number(told) else None


def _is_number(told: str) -> bool:
    return told.isascii() and told.isdecimal() and len(told) < 19


def _rows(asked) -> list[LineForm]:
    """The lines that the address holds, and some empty ones to fill in."""
    columns = {name: asked.getlist(name) for name in LINE_WORDS}
    most = min(max(map(len, columns.values())), simulation.MOST_LINES)
    told = [
        {name: column[n] if n < len(column) else "" for name, column in columns.items()} for n in range(most)
    ]
    kept = [row for row in told if any(row[name].strip() for name in ("sku", "category", "price"))]
    separator = get_format("DECIMAL_SEPARATOR")
    for row in kept:
        # An address that somebody sent may be written in the other language.
        row.update(
            (name, row[name].replace(",", ".").replace(".", separator)) for name in ("quantity", "price")
        )
    empty = max(FEWEST_ROWS - len(kept), MORE_ROWS if "more" in asked else 1)
    kept += [{"quantity": "1"}] * min(empty, simulation.MOST_LINES - len(kept))
    return [LineForm(number, row) for number, row in enumerate(kept, start=1)]


def address_of(basket: Basket, against: str = "") -> str:
    """The address that asks about this basket."""
    local = basket.at.astimezone(basket.store.zone)
    told: list[tuple[str, object]] = [
        ("customer", basket.profile.pk if basket.profile else ""),
        ("tier", WITHOUT_TIER if basket.profile and basket.tier == "" else basket.tier or ""),
        ("store", basket.store.pk), ("channel", basket.channel), ("day", local.date().isoformat()),
        ("time", local.strftime("%H:%M:%S")), ("payment", basket.payment),
        *((SEGMENTS, pk) for pk in sorted(basket.segments)),
        ("reward", Decimal(basket.reward_cents) / 100 if basket.reward_cents else ""),
        ("against", against), ("ticket", basket.purchase.pk if basket.purchase else ""),
    ]  # fmt: skip
    for item in basket.items:
        quantity, price = item.quantity.normalize(), item.price
        if Item.priced("", "", quantity, price).amount_cents != item.amount_cents:
            # Pieces that do not share their amount evenly stand as one.
            quantity, price = Decimal(1), Decimal(item.amount_cents) / 100
        told += [
            ("sku", item.sku),
            ("category", item.category),
            ("quantity", f"{quantity:f}"),
            ("price", price),
        ]
    return f"{reverse('admin:loyalty_savedsimulation_changelist')}?{urlencode(told)}"


def _instead(request: HttpRequest, **words: object) -> str:
    """The address of now, with these words in the place of its own."""
    asked = request.GET.copy()
    for name in ("q", "receipt", "load", "more", "say"):
        asked.pop(name, None)
    for name, value in words.items():
        asked[name] = str(value)
    return f"{request.path}?{asked.urlencode()}"


# --- The simulator and the simulations that are kept ----------------------------------------------------------------


class SaveForm(forms.Form):
    name = forms.CharField(
        label=_("Name"), max_length=120, widget=UnfoldAdminTextInputWidget,
        help_text=_("What it watches over, such as «happy hour doubles dairy»."),
    )  # fmt: skip
    expected_points = forms.IntegerField(
        label=_("Expected points"), min_value=0, max_value=10**12,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
        help_text=_("Nothing is published that gives this basket other points."),
    )  # fmt: skip

    def __init__(self, *args, saved: SavedSimulation | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.saved = saved

    def clean_name(self):
        name = self.cleaned_data["name"]
        others = SavedSimulation.objects.filter(name=name)
        if (others.exclude(pk=self.saved.pk) if self.saved else others).exists():
            raise forms.ValidationError(_t("There is a simulation of this name already."))
        return name


@admin.register(SavedSimulation)
class SavedSimulationAdmin(Pages):
    folder = "loyalty"

    def has_add_permission(self, request):
        return request.user.has_perm("loyalty.add_savedsimulation")

    def has_change_permission(self, request, obj=None):
        return request.user.has_perm("loyalty.change_savedsimulation")

    def has_delete_permission(self, request, obj=None):
        return request.user.has_perm("loyalty.delete_savedsimulation")

    def delete_model(self, request, obj):
        audit(request.user, "delete", obj, points=obj.expected_points)
        super().delete_model(request, obj)

    def changelist_view(self, request, extra_context=None):
        """The simulator, and below it the simulations that are kept."""
        self._may_view(request)
        if any("\x00" in told for name in request.GET for told in (name, *request.GET.getlist(name))):
            return redirect(request.path)
        question = Question(request)
        people: list[Profile] = []
        tickets: list[Purchase] = []
        if "load" in request.GET:
            tickets = self._tickets(request, question)
            if len(tickets) == 1:
                return redirect(address_of(simulation.basket_of(tickets[0]), request.GET.get("against", "")))
        elif question.words:
            people = list(
                search.matching(Profile.objects.filter(merged_into=None), question.words).order_by("pk")[
                    :PEOPLE_SHOWN
                ]
            )
            if len(people) == 1:
                return redirect(_instead(request, customer=people[0].pk, tier="", ticket=""))
        return self._simulator(request, question, people, tickets)

    def _tickets(self, request, question: Question) -> list[Purchase]:
        """The tickets that shall be loaded: one is, of several somebody chooses."""
        receipt = request.GET.get("receipt", "").strip()
        if request.GET["load"] == "last":
            last = simulation.last_ticket_of(question.profile) if question.profile else None
            found = [last] if last else []
        else:
            found = simulation.tickets_called(receipt) if receipt else []
        if not found:
            messages.warning(request, _t("No such ticket is found."))
        return found

    def _simulator(self, request, question: Question, people: list[Profile], tickets: list[Purchase]):
        outcome = live = None
        wrong = ""
        try:
            book = Rulebook.load()
            basket, tried = question.basket(), question.tried()
            if basket is not None and question.filled:
                outcome = simulation.simulate(basket, tried, book=book)
                live = simulation.simulate(basket, book=book) if tried else None
            checks = simulation.run_saved(tried, book=book)
        except BadBasket as refused:
            wrong, checks = refused.message, []
        except NoProgramme:
            wrong, checks = _t("The brand has no loyalty programme yet"), []
        names = Names()
        return self._page(
            request, "simulator/simulator.html", _t("Simulator"), question=question, form=question.form,
            rows=question.rows, profile=question.profile,
            people=[(who, _instead(request, customer=who.pk, tier="", ticket="")) for who in people],
            tickets=[(sold, address_of(simulation.basket_of(sold))) for sold in tickets], wrong=wrong,
            without_member=_instead(request, customer="", ticket="", tier=""),
            shown=ShownOutcome.of(outcome, names) if outcome else None, live=live,
            difference=outcome.earned.points - live.earned.points if outcome and live else None,
            told_difference=rule_words.signed(outcome.earned.points - live.earned.points) if outcome and live else "",
            checks=checks, query=request.GET.urlencode(), may_add=self.has_add_permission(request),
            may_open=request.user.has_perm("profiles.view_profile"),
        )  # fmt: skip

    def add_view(self, request, form_url="", extra_context=None):
        """Keep the basket that the address holds, with the points that it must earn."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        question = Question(request)
        try:
            basket = question.basket()
            outcome = simulation.simulate(basket, question.tried()) if basket and question.filled else None
        except (BadBasket, NoProgramme):
            outcome = None
        back = f"{reverse('admin:loyalty_savedsimulation_changelist')}?{request.GET.urlencode()}"
        if outcome is None:
            return self._page(request, "simulator/nothing.html", _t("Keep a simulation"))
        form = SaveForm(request.POST or None, initial={"expected_points": outcome.earned.points})
        if request.method == "POST" and form.is_valid():
            kept = Basket(
                outcome.basket.store, outcome.basket.at, outcome.basket.items, tier=outcome.ticket.tier,
                reward_cents=outcome.basket.reward_cents, payment=outcome.basket.payment,
                channel=outcome.basket.channel, segments=outcome.ticket.segments,
            )  # fmt: skip
            said = form.cleaned_data
            drafting.keep_simulation(said["name"], kept, said["expected_points"], by=request.user)
            messages.success(request, _t("Kept: it is asked before anything is published."))
            return redirect("admin:loyalty_savedsimulation_changelist")
        about = _t(
            "The basket is kept as a new member's of the tier «%(tier)s», on the weekday and at the time it has."
        ) % {"tier": Names().tier(outcome.ticket.tier)}
        return self._page(
            request, "finance/form.html", _t("Keep a simulation"), form=form, about=about, button=_t("Keep it"),
            back=back,
        )  # fmt: skip

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """A kept simulation: its basket, what it earns now, and what it must earn."""
        self._may_view(request)
        saved = self.get_object(request, object_id)
        if saved is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        may_change = self.has_change_permission(request, saved)
        if request.method == "POST" and not may_change:
            raise PermissionDenied
        initial = {"name": saved.name, "expected_points": saved.expected_points}
        form = SaveForm(request.POST or None, initial=initial, saved=saved) if may_change else None
        if request.method == "POST" and form.is_valid():
            before, said = saved.expected_points, form.cleaned_data
            saved.name, saved.expected_points = said["name"], said["expected_points"]
            saved.save(update_fields=["name", "expected_points"])
            audit(request.user, "changed", saved, expected_points=[before, saved.expected_points])
            messages.success(request, _t("Changed."))
            return redirect("admin:loyalty_savedsimulation_change", saved.pk)
        basket = simulation.basket_saved(saved, timezone.now().astimezone(saved.store.zone).date())
        try:
            book = Rulebook.load()
            outcome = simulation.judged(basket, book.at(timezone.now()), book)
        except NoProgramme:
            outcome = None
        return self._page(
            request, "simulator/saved.html", saved.name, saved=saved, original=saved, form=form, basket=basket,
            shown=ShownOutcome.of(outcome, Names()) if outcome else None, address=address_of(basket),
            segments=Names().segments_called(saved.segments),
            passed=outcome is not None and outcome.earned.points == saved.expected_points,
            may_delete=self.has_delete_permission(request, saved),
        )  # fmt: skip
