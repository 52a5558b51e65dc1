"""The audit trail in the reader's language. Its rows keep codes: what was written stays as it was written."""

from django.apps import apps
from django.utils.translation import pgettext_lazy

from tenants.roles import Role

DEEDS = {
    "accepted invitation": pgettext_lazy("audit trail", "accepted the invitation"),
    "adjusted": pgettext_lazy("audit trail", "adjusted the points of"),
    "activated": pgettext_lazy("audit trail", "activated"),
    "added": pgettext_lazy("audit trail", "added"),
    "approved": pgettext_lazy("audit trail", "approved"),
    "asked to compare all": pgettext_lazy("audit trail", "asked to have all customers compared anew"),
    "agreed exit": pgettext_lazy("audit trail", "agreed that a store leaves"),
    "asked for": pgettext_lazy("audit trail", "asked for"),
    "blocked": pgettext_lazy("audit trail", "blocked"),
    "called back": pgettext_lazy("audit trail", "called back"),
    "called off": pgettext_lazy("audit trail", "called off"),
    "cancelled": pgettext_lazy("audit trail", "cancelled"),
    "carried out exit": pgettext_lazy("audit trail", "carried out the exit of a store"),
    "changed": pgettext_lazy("audit trail", "changed"),
    "chose": pgettext_lazy("audit trail", "chose"),
    "claimed": pgettext_lazy("audit trail", "claimed a ticket"),
    "closed": pgettext_lazy("audit trail", "closed"),
    "consent grant": pgettext_lazy("audit trail", "noted an agreement"),
    "consent withdraw": pgettext_lazy("audit trail", "noted a refusal"),
    "delete": pgettext_lazy("audit trail", "deleted"),
    "discarded": pgettext_lazy("audit trail", "threw away"),
    "download": pgettext_lazy("audit trail", "downloaded"),
    "downloaded": pgettext_lazy("audit trail", "downloaded"),
    "drafted": pgettext_lazy("audit trail", "drafted"),
    "estimated": pgettext_lazy("audit trail", "estimated"),
    "export": pgettext_lazy("audit trail", "exported"),
    "found differences": pgettext_lazy("audit trail", "found that the ledger does not add up"),
    "gave bonus back": pgettext_lazy("audit trail", "put back a bonus that a merge had taken back"),
    "freeze": pgettext_lazy("audit trail", "froze the audience"),
    "gave to the audience": pgettext_lazy("audit trail", "gave to the audience of a campaign"),
    "gave": pgettext_lazy("audit trail", "gave"),
    "ignored": pgettext_lazy("audit trail", "ignored"),
    "imported": pgettext_lazy("audit trail", "imported"),
    "invited": pgettext_lazy("audit trail", "invited"),
    "invited anew": pgettext_lazy("audit trail", "invited anew"),
    "kept apart": pgettext_lazy("audit trail", "kept apart"),
    "lifted block": pgettext_lazy("audit trail", "lifted the block"),
    "made pass": pgettext_lazy("audit trail", "made a wallet pass for"),
    "made link": pgettext_lazy("audit trail", "made a member’s link for"),
    "merged": pgettext_lazy("audit trail", "merged"),
    "moved ticket": pgettext_lazy("audit trail", "gave the ticket to another customer"),
    "moved ticket back": pgettext_lazy("audit trail", "moved the ticket back"),
    "opened case": pgettext_lazy("audit trail", "opened a case"),
    "pinned": pgettext_lazy("audit trail", "pinned a value"),
    "published": pgettext_lazy("audit trail", "published"),
    "published against simulations": pgettext_lazy(
        "audit trail", "published although saved simulations differ"
    ),
    "refused": pgettext_lazy("audit trail", "refused"),
    "released": pgettext_lazy("audit trail", "released"),
    "retired pass": pgettext_lazy("audit trail", "retired the lost wallet pass of"),
    "renewed key": pgettext_lazy("audit trail", "renewed the key"),
    "resumed": pgettext_lazy("audit trail", "resumed"),
    "revoked links": pgettext_lazy("audit trail", "ended the member’s links of"),
    "revoked key": pgettext_lazy("audit trail", "revoked the key"),
    "save": pgettext_lazy("audit trail", "saved"),
    "said one household": pgettext_lazy("audit trail", "said that two customers are one household"),
    "said two households": pgettext_lazy("audit trail", "said that two customers are not one household"),
    "separated": pgettext_lazy("audit trail", "separated"),
    "switched off": pgettext_lazy("audit trail", "switched off"),
    "took back points": pgettext_lazy("audit trail", "took back points of a case"),
    "took back bonus": pgettext_lazy("audit trail", "took back a bonus that was given twice"),
    "sent again": pgettext_lazy("audit trail", "had sent again"),
    "signed off": pgettext_lazy("audit trail", "signed off"),
    "took back": pgettext_lazy("audit trail", "took a decision back"),
    "took off pin": pgettext_lazy("audit trail", "took a pin off"),
    "took in": pgettext_lazy("audit trail", "took in"),
    "undid": pgettext_lazy("audit trail", "undid"),
    "uploaded": pgettext_lazy("audit trail", "uploaded"),
    "viewed": pgettext_lazy("audit trail", "viewed"),
    "voided pass": pgettext_lazy("audit trail", "voided the wallet pass of"),
    "withdrew": pgettext_lazy("audit trail", "withdrew"),
}

# What a job's result counts, by the names under which jobs note it; others are told as they stand.
COUNTED = {
    "records": pgettext_lazy("result of a job", "records compared"),
    "merged": pgettext_lazy("result of a job", "merges made"),
    "queued": pgettext_lazy("result of a job", "new questions for people"),
    "separated": pgettext_lazy("result of a job", "merges taken back"),
    "passed": pgettext_lazy("result of a job", "passed over, since decided or kept apart meanwhile"),
    "given": pgettext_lazy("result of a job", "given"),
    "left out": pgettext_lazy("result of a job", "left out"),
    "called back": pgettext_lazy("result of a job", "called back, vouchers or points"),
    "kept": pgettext_lazy("result of a job", "left as they were, since later merges rest on them"),
}


def counted(name: str) -> str:
    """What a job counted under this name, in the reader's language."""
    return str(COUNTED.get(name, name))


def deed(verb: str) -> str:
    """What was done, in words; an unknown verb as it is."""
    return str(DEEDS.get(verb, verb))


def thing(object_type: str) -> str:
    """The kind of thing it was done to, by the name of its model."""
    for model in apps.get_models():
        if model._meta.model_name == object_type:
            return str(model._meta.verbose_name)
    return object_type


def role(code: str) -> str:
    """The role of whoever did it."""
    return str(dict(Role.choices).get(code, code))
