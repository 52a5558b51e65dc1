"""What a rule says, in words; and the form that asks for it, one field a word of `loyalty/rules.py`."""

from collections.abc import Sequence
from datetime import date, time
from decimal import Decimal
from itertools import zip_longest

from django import forms
from django.utils import timezone
from django.utils.dates import WEEKDAYS
from django.utils.formats import date_format
from django.utils.html import format_html_join
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from loyalty import rulebook, rules, segments
from loyalty.models import Rule, RuleDraft, RuleVersion, Tier
from profiles.models import Purchase
from tenants.network.models import Store, Till
from tenants.templatetags.money import money

TICKETS_LOOKED_AT = 1000


class Words(forms.CharField):
    """A list of codes, written with spaces or commas between them."""

    widget = UnfoldAdminTextInputWidget

    def to_python(self, value):
        return [word for word in (value or "").replace(",", " ").replace(";", " ").split() if word]

    def prepare_value(self, value):
        return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value

    def validate(self, value):
        if self.required and not value:
            raise forms.ValidationError(self.error_messages["required"], code="required")


class Payments(Words):
    """A list of the words that tills send, which may hold spaces: with commas between them."""

    def to_python(self, value):
        return [word.strip() for word in (value or "").replace(";", ",").split(",") if word.strip()]

    def validate(self, value):
        super().validate(value)
        for word in value:
            if len(word) > rules.LONGEST_PAYMENT:
                told = {"word": word, "most": rules.LONGEST_PAYMENT}
                raise forms.ValidationError(
                    _("«%(word)s» is longer than the %(most)s characters of a till's word.") % told
                )

    def prepare_value(self, value):
        return ", ".join(value) if isinstance(value, (list, tuple)) else value


class DaysInput(forms.Widget):
    """Rows of two days each: those that are said, and some empty ones."""

    use_fieldset = True
    empty_rows = 2

    def value_from_datadict(self, data, files, name):
        ends = [
            data.getlist(part) if hasattr(data, "getlist") else data.get(part, [])
            for part in (f"{name}_from", f"{name}_to")
        ]
        return [list(pair) for pair in zip_longest(*ends, fillvalue="")]

    def value_omitted_from_data(self, data, files, name):
        return f"{name}_from" not in data

    def id_for_label(self, id_):
        return ""

    def render(self, name, value, attrs=None, renderer=None):
        said = [pair for pair in value or [] if any(pair)]
        rows = []
        for number, (first, last) in enumerate([*said, *[("", "")] * self.empty_rows], start=1):
            told = {"number": number}
            rows.append(
                (
                    name, first, _t("First day, period %(number)s") % told,
                    name, last, _t("Last day, period %(number)s") % told,
                )
            )  # fmt: skip
        row = (
            '<div class="rules-days"><input type="date" name="{}_from" value="{}" aria-label="{}">'
            '<span aria-hidden="true">–</span><input type="date" name="{}_to" value="{}" aria-label="{}"></div>'
        )
        return format_html_join("", row, rows)


class Periods(forms.Field):
    """Periods of days as `[["2026-12-01", "2026-12-24"], …]`; one day alone is a period of itself."""

    widget = DaysInput

    def to_python(self, value):
        periods = []
        for pair in value or []:
            first, last = (str(day).strip() for day in pair)
            if not first and not last:
                continue
            try:
                days = [date.fromisoformat(day) for day in (first or last, last or first)]
            except ValueError:
                raise forms.ValidationError(_("A day is expected, such as 2026-12-24.")) from None
            if days[1] < days[0]:
                raise forms.ValidationError(_("A period ends before it begins."))
            periods.append([day.isoformat() for day in days])
        if len(periods) > rules.MOST_DATES:
            raise forms.ValidationError(_("At most %(most)s are possible.") % {"most": rules.MOST_DATES})
        return periods


def payments_told() -> list[str]:
    """The words by which the last tickets say that they were paid."""
    last = Purchase.objects.order_by("-pk").values_list("payment", flat=True)[:TICKETS_LOOKED_AT]
    return sorted({word.strip() for word in last} - {""}, key=str.casefold)


def _whole(word, label, *, required=False, minimum=0, help_text=""):
    return forms.IntegerField(
        label=label,
        required=required,
        min_value=minimum,
        max_value=rules.LARGEST[word],
        help_text=help_text,
        widget=UnfoldAdminTextInputWidget,
    )


PERIODS = {
    rules.EVER: _("for ever"),
    rules.YEAR: _("each calendar year"),
    rules.MONTH: _("each month"),
    rules.DAY: _("each day"),
}
FUNDERS = {
    rules.BY_KEY: _("whom the funding key names"),
    rules.BY_STORE: _("the store that issues them"),
    rules.BY_HEAD_OFFICE: _("head office"),
}

TERMS = {
    "action": lambda: forms.CharField(
        label=_("Action"), max_length=40, initial="email_click", widget=UnfoldAdminTextInputWidget,
        help_text=_("The code that is told, such as review or email_click; welcome and birthday come alone."),
    ),
    "points": lambda: _whole("points", _("Points"), required=True),
    "per_cents": lambda: _whole(
        "per_cents", _("for each … cents paid"), required=True, minimum=1, help_text=_("100: for each euro.")
    ),
    "rounding": lambda: forms.ChoiceField(
        label=_("Rounded down"), required=False, widget=UnfoldAdminSelectWidget,
        choices=[(rules.ROUND_TICKET, _("once a ticket")), (rules.ROUND_LINE, _("on each line"))],
    ),
    "amounts": lambda: forms.ChoiceField(
        label=_("A voucher on the ticket"), required=False, widget=UnfoldAdminSelectWidget,
        choices=[(rules.NET, _("lowers what earns")), (rules.GROSS, _("changes nothing"))],
    ),
    "cap_per_ticket": lambda: _whole("cap_per_ticket", _("At most … points a ticket")),
    "cap_per_day": lambda: _whole("cap_per_day", _("At most … points a day")),
    "times": lambda: _whole("times", _("At most … times a member"), minimum=1),
    "period": lambda: forms.ChoiceField(
        label=_("Period"), required=False, widget=UnfoldAdminSelectWidget, choices=list(PERIODS.items())
    ),
    "times_per_campaign": lambda: _whole(
        "times_per_campaign", _("At most … times a campaign"), minimum=1,
        help_text=_("The opening of an e-mail counts once a campaign: mail programs open by themselves."),
    ),
    "funding": lambda: forms.ChoiceField(
        label=_("Paid by"), required=False, widget=UnfoldAdminSelectWidget, choices=list(FUNDERS.items())
    ),
    "for_tier": lambda: forms.BooleanField(
        label=_("Counts for the tier"), required=False, widget=UnfoldBooleanWidget
    ),
    "on_merge": lambda: forms.ChoiceField(
        label=_("Two members prove to be one"), required=False, widget=UnfoldAdminSelectWidget,
        choices=[(rules.REVERSE, _("the second welcome or birthday is taken back")), (rules.KEEP, _("both are kept"))],
    ),
    "pending_days": lambda: _whole("pending_days", _("Spendable after … days")),
    "expiry": lambda: forms.ChoiceField(
        label=_("Points expire"), required=False, widget=UnfoldAdminSelectWidget,
        choices=[
            (rules.ROLLING, _("some months after they were earned")),
            (rules.FIXED, _("on a day of the next year")),
            (rules.INACTIVITY, _("some months after the last purchase")),
        ],
    ),
    "expiry_day": lambda: forms.CharField(
        label=_("On the day"), required=False, max_length=5, widget=UnfoldAdminTextInputWidget,
        help_text=_("Month and day, such as 03-31."),
    ),
    "expiry_months": lambda: _whole(
        "expiry_months", _("Expire after … months"), help_text=_("Empty: never.")
    ),
    "factor": lambda: forms.DecimalField(
        label=_("Factor"), min_value=1, max_value=rules.LARGEST_FACTOR, widget=UnfoldAdminTextInputWidget,
        help_text=_("3 gives three times the points."),
    ),
    "stacking": lambda: forms.ChoiceField(
        label=_("Several multipliers"), required=False, choices=Rule.Stacking.choices, widget=UnfoldAdminSelectWidget
    ),
}  # fmt: skip


class VersionForm(forms.Form):
    """Fields `terms_<word>` and `conditions_<word>`; `cleaned_data` holds `terms` and `conditions` put together."""

    effective_from = forms.SplitDateTimeField(
        label=_("From"), required=False, widget=UnfoldAdminSplitDateTimeWidget,
        help_text=_("Empty: from now on. The version before ends there."),
    )  # fmt: skip
    effective_to = forms.SplitDateTimeField(
        label=_("Until"), required=False, widget=UnfoldAdminSplitDateTimeWidget,
        help_text=_("Empty: until another version takes over. At this instant it ends."),
    )  # fmt: skip
    reason = forms.CharField(
        label=_("Why"), max_length=300, required=False, widget=UnfoldAdminTextInputWidget
    )
    conditions_categories = Words(
        label=_("Categories"), required=False, help_text=_("Empty: every category.")
    )
    conditions_skus = Words(label=_("Articles"), required=False)
    conditions_except_categories = Words(label=_("Except categories"), required=False)
    conditions_except_skus = Words(label=_("Except articles"), required=False)
    conditions_stores = Words(label=_("Stores"), required=False, help_text=_("Codes of stores; empty: all."))
    conditions_channels = forms.TypedMultipleChoiceField(
        label=_("Sold"), required=False, choices=Till.Channel.choices, widget=forms.CheckboxSelectMultiple,
        help_text=_("None ticked: in stores and in web shops."),
    )  # fmt: skip
    conditions_payments = Payments(label=_("Paid with"), required=False)
    conditions_tiers = Words(label=_("Tiers"), required=False)
    conditions_segments = forms.TypedMultipleChoiceField(
        label=_("Segments"), required=False, coerce=int, widget=forms.CheckboxSelectMultiple,
        help_text=_("Members of one of them when the ticket comes; none ticked: everybody."),
    )  # fmt: skip
    conditions_dates = Periods(
        label=_("Periods"), required=False,
        help_text=_("Days of the store's calendar, the first and the last included. Empty: every day."),
    )  # fmt: skip
    conditions_weekdays = forms.TypedMultipleChoiceField(
        label=_("Days of the week"), required=False, coerce=int, choices=list(WEEKDAYS.items()),
        widget=forms.CheckboxSelectMultiple,
    )  # fmt: skip
    conditions_hours = Words(
        label=_("Hours"),
        required=False,
        help_text=_("Two times of the store's own day, such as 18:00 20:00."),
    )
    conditions_min_total_cents = forms.DecimalField(
        label=_("Ticket of at least"), required=False, min_value=0, decimal_places=2,
        widget=UnfoldAdminTextInputWidget, help_text=_("In the brand's currency."),
    )  # fmt: skip

    def __init__(self, rule: Rule, data=None):
        self.rule = rule
        super().__init__(data, initial=self._said_now(rule))
        self.fields["conditions_segments"].choices = self._segments()
        told = {"words": ", ".join(payments_told()) or "–"}
        self.fields["conditions_payments"].help_text = (
            _t("The words of tills and web shops, with commas between them. The last tickets say: %(words)s.")
            % told
        )
        for word, field in TERMS.items():
            if word in rules.TERMS[rule.kind]:
                self.fields[f"terms_{word}"] = field()
        if rule.kind == rules.ACTION:
            for name in [name for name in self.fields if name.startswith("conditions_")]:
                if name.removeprefix("conditions_") not in rules.ACTION_CONDITIONS:
                    del self.fields[name]

    def _segments(self) -> list[tuple[int, str]]:
        """Those that there are; and those that the rule names though they are gone, so that nothing is lost unseen."""
        known = segments.names()
        gone = set(self.initial.get("conditions_segments", ())) - known.keys()
        return [*known.items(), *((pk, _t("segment %(number)s") % {"number": pk}) for pk in sorted(gone))]

    @staticmethod
    def _said_now(rule: Rule) -> dict:
        """What its draft says, or else its newest version."""
        draft = RuleDraft.objects.filter(rule=rule).first()
        newest = draft or rule.versions.order_by("-number").first()
        if newest is None:
            return {}
        said = {}
        if draft:
            said = {name: getattr(draft, name) for name in ("effective_from", "effective_to", "reason")}
        said |= {f"terms_{word}": value for word, value in newest.terms.items()}
        said |= {f"conditions_{word}": value for word, value in newest.conditions.items()}
        if "conditions_min_total_cents" in said:
            said["conditions_min_total_cents"] = Decimal(said["conditions_min_total_cents"]) / 100
        return said

    @property
    def term_fields(self):
        return [self[name] for name in self.fields if name.startswith("terms_")]

    @property
    def condition_fields(self):
        return [self[name] for name in self.fields if name.startswith("conditions_")]

    def clean_conditions_segments(self):
        chosen = self.cleaned_data["conditions_segments"]
        if len(chosen) > rules.MOST_SEGMENTS:
            raise forms.ValidationError(_("At most %(most)s are possible.") % {"most": rules.MOST_SEGMENTS})
        return chosen

    def clean_conditions_hours(self):
        """Said here in the words of the page; `rules.validate` speaks of its own notation."""
        hours = self.cleaned_data["conditions_hours"]
        try:
            moments = {time.fromisoformat(hour) for hour in hours}
        except ValueError:
            moments = set()
        if hours and (len(hours), len(moments)) != (2, 2):
            raise forms.ValidationError(_("Two different times are expected, such as 18:00 20:00."))
        return hours

    def clean(self):
        cleaned = super().clean()
        terms = self._words("terms_", cleaned)
        conditions = self._words("conditions_", cleaned)
        if "factor" in terms:
            terms["factor"] = str(terms["factor"].normalize())
        if "min_total_cents" in conditions:
            conditions["min_total_cents"] = int(conditions["min_total_cents"] * 100)
        self._check_codes("conditions_stores", conditions.get("stores", []), Store)
        self._check_codes("conditions_tiers", conditions.get("tiers", []), Tier)
        if cleaned.get("effective_from") and cleaned["effective_from"] < timezone.now():
            self.add_error(
                "effective_from", _("The past was judged by the rules of the past: choose a later time.")
            )
        ends, starts = cleaned.get("effective_to"), cleaned.get("effective_from") or timezone.now()
        if ends and ends <= starts:
            self.add_error("effective_to", _("The end lies after the start."))
        if not self.errors:
            try:
                rulebook.check(self.rule.kind, conditions, terms)
            except rules.InvalidRule as refused:
                self.refuse(refused)
        return cleaned | {"terms": terms, "conditions": conditions}

    def refuse(self, refused: rules.InvalidRule) -> None:
        """Put the refusal beside the word it names."""
        field = refused.path.replace(".", "_", 1)
        if field in self.fields:
            self.add_error(field, refused.message)
        else:
            self.add_error(None, f"{refused.path}: {refused.message}")

    def _words(self, prefix: str, cleaned: dict) -> dict:
        return {
            name.removeprefix(prefix): cleaned[name]
            for name in self.fields
            if name.startswith(prefix)
            and cleaned.get(name) not in (None, "", [])
            and cleaned[name] is not False
        }

    def _check_codes(self, field: str, codes: list[str], model) -> None:
        known = set(model.objects.filter(code__in=codes).values_list("code", flat=True))
        unknown = [code for code in codes if code not in known]
        if unknown:
            self.add_error(field, _("Unknown: %(codes)s.") % {"codes": ", ".join(unknown)})


# --- In words -----------------------------------------------------------------------------------------------------


def said_by(version: RuleVersion) -> str:
    """A version as a sentence: `1 point for each €1.00, expire after 12 months · Categories: DAIRY`."""
    parts = [terms_in_words(version.rule.kind, version.terms), *conditions_in_words(version.conditions)]
    return " · ".join(parts)


def terms_in_words(kind: str, terms: dict) -> str:
    if kind == rules.MULTIPLIER:
        stacking = Rule.Stacking(terms.get("stacking", rules.BEST)).label
        return _t("points × %(factor)s (%(stacking)s)") % {"factor": terms["factor"], "stacking": stacking}
    if kind == rules.BONUS:
        return points_in_words(terms["points"])
    if kind == rules.ACTION:
        return ", ".join(action_in_words(terms) + life_in_words(terms))
    each = {"points": points_in_words(terms["points"]), "amount": money(terms["per_cents"])}
    said = [_t("%(points)s for each %(amount)s") % each]
    if terms.get("rounding") == rules.ROUND_LINE:
        said.append(_t("rounded on each line"))
    if terms.get("cap_per_ticket") is not None:
        said.append(_t("at most %(cap_per_ticket)s a ticket") % terms)
    if terms.get("cap_per_day") is not None:
        said.append(_t("at most %(cap_per_day)s a day") % terms)
    if terms.get("amounts") == rules.GROSS:
        said.append(_t("vouchers change nothing"))
    return ", ".join(said + life_in_words(terms))


def action_in_words(terms: dict) -> list[str]:
    told = {"points": points_in_words(terms["points"]), "action": terms["action"]}
    said = [_t("%(points)s for «%(action)s»") % told]
    if terms.get("times") is not None:
        times = {"times": terms["times"], "period": PERIODS[terms.get("period") or rules.EVER]}
        said.append(_t("at most %(times)s times %(period)s") % times)
    if terms.get("times_per_campaign") is not None:
        said.append(_t("at most %(times_per_campaign)s times a campaign") % terms)
    if terms.get("funding", rules.BY_KEY) != rules.BY_KEY:
        said.append(_t("paid by %(party)s") % {"party": FUNDERS[terms["funding"]]})
    if terms.get("for_tier"):
        said.append(_t("counts for the tier"))
    if terms.get("on_merge") == rules.KEEP:
        said.append(_t("both are kept when two members prove to be one"))
    return said


def life_in_words(terms: dict) -> list[str]:
    said = []
    if terms.get("pending_days"):
        said.append(_t("spendable after %(pending_days)s days") % terms)
    if terms.get("expiry") == rules.FIXED:
        said.append(_t("expire on %(expiry_day)s of the next year") % terms)
    elif terms.get("expiry") == rules.INACTIVITY:
        said.append(_t("expire %(expiry_months)s months after the last purchase") % terms)
    elif terms.get("expiry_months") is not None:
        said.append(_t("expire after %(expiry_months)s months") % terms)
    return said


def points_in_words(count: int) -> str:
    return ngettext("%(count)s point", "%(count)s points", count) % {"count": count}


def days_in_words(period: Sequence[str]) -> str:
    """One of `dates`, as the reader writes days."""
    first, last = (date_format(date.fromisoformat(day), "SHORT_DATE_FORMAT") for day in period)
    return first if first == last else f"{first} – {last}"


def conditions_in_words(conditions: dict) -> list[str]:
    said = []
    for word, value in conditions.items():
        label = VersionForm.base_fields[f"conditions_{word}"].label
        if word == "min_total_cents":
            shown = money(value)
        elif word == "segments":
            known = segments.names()
            shown = ", ".join(known.get(pk, _t("segment %(number)s") % {"number": pk}) for pk in value)
        elif word == "channels":
            shown = ", ".join(str(Till.Channel(channel).label) for channel in value)
        elif word == "dates":
            shown = ", ".join(map(days_in_words, value))
        elif word == "weekdays":
            shown = ", ".join(str(WEEKDAYS[day]) for day in value)
        else:
            shown = ", ".join(map(str, value))
        said.append(_t("%(label)s: %(value)s") % {"label": label, "value": shown})
    return said
