"""Ready-made segments: a few questions, answered in a form, become conditions of the segment language."""

from dataclasses import dataclass

from django import forms
from django.db import connection
from django.db.models import Count
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from campaigns.models import Segment
from campaigns.segments.fields import codes
from profiles.models import Channel, PurchaseLine
from tenants.network.models import Store

MOST_TIMES = 1000
MOST_DAYS = 3660
MOST_AMOUNT = 1_000_000
MOST_DAYS_TO_BIRTHDAY = 60


def _number(label, initial: int, most: int, help_text="") -> forms.IntegerField:
    return forms.IntegerField(
        label=label, initial=initial, min_value=1, max_value=most, help_text=help_text,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )  # fmt: skip


class TemplateForm(forms.Form):
    """What every ready-made segment asks last: whom to keep, and the name."""

    channel = forms.ChoiceField(
        label=_("Keep"),
        required=False,
        choices=[("", _("everybody")), *((c.value, c.label) for c in Channel)],
        help_text=_("Only those who allowed messages on a channel, or everybody."),
    )
    name = forms.CharField(label=_("Name of the segment"), max_length=120)

    def __init__(self, *args, store: Store, **kwargs):
        super().__init__(*args, label_suffix="", **kwargs)
        self.store = store
        kept = [(c.value, _("those who allow %(channel)s") % {"channel": c.label}) for c in Channel]
        self.fields["channel"].choices = [("", _("everybody")), *kept]
        self.order_fields([name for name in self.fields if name not in TemplateForm.base_fields])

    def clean_name(self):
        name = self.cleaned_data["name"]
        if Segment.objects.filter(store=self.store, name=name).exists():
            raise forms.ValidationError(_("Your store has a segment of this name already."))
        return name

    def conditions(self) -> list[dict]:
        """What the template's own questions come to."""
        raise NotImplementedError

    def definition(self) -> dict:
        """The conditions as the segment language writes them."""
        channel = self.cleaned_data["channel"]
        reach = [{"field": "may_contact", "op": "=", "value": channel}] if channel else []
        return {"all": [*self.conditions(), *reach]}


class LapsedForm(TemplateForm):
    times = _number(_("Bought here at least"), 3, MOST_TIMES, _("times"))
    days = _number(_("Not seen for"), 30, MOST_DAYS, _("days or more"))

    def conditions(self):
        return [
            {"field": "purchases", "op": ">=", "value": self.cleaned_data["times"]},
            {"field": "days_since_purchase", "op": ">=", "value": self.cleaned_data["days"]},
        ]


class CategoryForm(TemplateForm):
    category = forms.ChoiceField(label=_("Bought from the category"))
    times = _number(_("At least"), 3, MOST_TIMES, _("times"))
    days = _number(_("In the last"), 90, MOST_DAYS, _("days"))

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["category"].choices = codes("category").items()
        lines = PurchaseLine.objects.exclude(category="").order_by().values("category")
        most = lines.annotate(n=Count("pk")).order_by("-n", "category").first()
        self.fields["category"].initial = most and most["category"]

    def conditions(self):
        return [
            {
                "field": "purchases",
                "category": self.cleaned_data["category"],
                "op": ">=",
                "value": self.cleaned_data["times"],
                "window": {"last_days": self.cleaned_data["days"]},
            }
        ]


class SpendForm(TemplateForm):
    amount = _number(_("Spent here at least"), 200, MOST_AMOUNT)
    days = _number(_("In the last"), 365, MOST_DAYS, _("days"))

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["amount"].help_text = connection.tenant.currency

    def conditions(self):
        return [
            {
                "field": "spend",
                "op": ">=",
                "value": 100 * self.cleaned_data["amount"],
                "window": {"last_days": self.cleaned_data["days"]},
            }
        ]


class BirthdayForm(TemplateForm):
    days = _number(_("Birthday in the next"), 14, MOST_DAYS_TO_BIRTHDAY, _("days"))

    def conditions(self):
        return [{"field": "birthday", "op": "next", "value": self.cleaned_data["days"]}]


@dataclass(frozen=True)
class SegmentTemplate:
    """A ready-made segment: its title, what it is good for, and its questions."""

    title: str | Promise
    purpose: str | Promise
    icon: str
    form: type[TemplateForm]


TEMPLATES: dict[str, SegmentTemplate] = {
    "lapsed": SegmentTemplate(
        _("Regulars not seen for a while"), _("To call back those who used to come."), "clock", LapsedForm
    ),
    "category": SegmentTemplate(
        _("Buyers of a category"), _("To tell about a new product those who buy its like."), "basket", CategoryForm
    ),
    "spend": SegmentTemplate(
        _("Best customers"), _("To thank those who spend most with you."), "star", SpendForm
    ),
    "birthday": SegmentTemplate(
        _("Birthdays to come"), _("To wish a happy birthday in time."), "cake", BirthdayForm
    ),
}  # fmt: skip
