"""What every brand has from its first day: patterns of values that are nobody's."""

from django.db import migrations

NOBODY_READS = "a mailbox that nobody reads"
FOR_A_MINUTE = "a mailbox for a few minutes, which anybody can open"
TYPED = "typed to get past the field"
DELIVERED = [
    *[("email", f"{user}@*", NOBODY_READS) for user in (
        "donotreply", "nepasrepondre", "ne-pas-repondre", "mailer-daemon", "postmaster",
    )],
    *[("email", f"*@{domain}", FOR_A_MINUTE) for domain in (
        "yopmail.com", "yopmail.fr", "jetable.org", "mailinator.com", "guerrillamail.com", "10minutemail.com",
        "trashmail.com", "temp-mail.org", "tempmail.com", "maildrop.cc",
    )],
    ("phone", "+33?000000??", TYPED),
    ("card", "1234567890*", TYPED),
    ("card", "00000000*", TYPED),
]


def deliver(apps, schema_editor):
    """The usual rubbish, which a brand may lift."""
    blocked = apps.get_model("profiles", "BlockedValue")
    blocked.objects.bulk_create(
        blocked(kind=kind, pattern=pattern, reason=reason, origin="built_in") for kind, pattern, reason in DELIVERED
    )


class Migration(migrations.Migration):
    dependencies = [("profiles", "0002_promises")]
    operations = [migrations.RunPython(deliver, migrations.RunPython.noop)]
