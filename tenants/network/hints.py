"""What the vendor of a till should do about an answer, in plain words: a line for each code of docs/till-api.md."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

PROGRAM = _("The till's program is to be corrected; sent again unchanged, it is refused again.")
BODY = _("The program sends another shape than documented: correct the field that is named.")
NO_JSON = _("What arrived is no JSON object of this call: look at what the program really sends.")
TELL = _("Nothing is wrong: the till should tell the customer.")
NOTHING = _("Nothing is to be done.")
AGAIN = _("Nothing is wrong: the till should send the same again in a moment.")
CLOCK = _("Set the till's clock from a time server, then send the ticket again.")
NEW_ID = _(
    "The number was used for another content: send a repeat unchanged, its time as well, and never begin numbers anew."
)
ENROL = _("Nobody has this card yet: the till should offer to enrol, or sell without a member.")
OTHER_COUPON = _("The till should leave this coupon out and say why.")
REWARD = _("The till should read the catalogue again and offer another reward.")
RETURN = _(
    "Compare the return with the ticket: what comes back must be on it, and not have come back before."
)
TYPED = _("Read or type the code again.")
PAYMENT = _(
    "The till names something as payment that is none: send the redemption or voucher before the ticket."
)
RESERVE = _("The reservation has ended: the till should reserve again.")
TICKET = _("Compare number, store and total with the printed ticket.")
BRAND = _("Ask the brand: its loyalty programme or its rules are not set up for this.")

HINTS: dict[str, str | Promise] = {
    "invalid_body": BODY,
    "invalid_value": BODY,
    "too_many_attempts": _(
        "Too many wrong keys came from here: enter the right one, and wait as long as the answer says."
    ),
    "unknown_till": _("The till's key is wrong or revoked: enter the one that head office gave last."),
    "not_found": _("The program calls an address that does not exist: compare it with the documentation."),
    "method_not_allowed": PROGRAM,
    "unknown_member": ENROL,
    "unknown_reward": REWARD,
    "unknown_voucher": TYPED,
    "unknown_reservation": RESERVE,
    "unknown_claim": PROGRAM,
    "not_enough_points": TELL,
    "reservation_spent": NOTHING,
    "reservation_cancelled": RESERVE,
    "reservation_expired": RESERVE,
    "unknown_sale": _("The return names a store that does not exist: correct its code."),
    "unknown_ticket": TICKET,
    "ticket_has_member": NOTHING,
    "already_claimed": NOTHING,
    "claim_over": TELL,
    "own_ticket": _("Another cashier must take this claim."),
    "unknown_action": BRAND,
    "action_of_the_calendar": _(
        "Welcomes and birthdays are credited by themselves: the till should not send them."
    ),
    "campaign_missing": BODY,
    "reward_not_offered": REWARD,
    "reward_not_for_points": REWARD,
    "out_of_stock": REWARD,
    "other_store": TELL,
    "voucher_used": TELL,
    "voucher_cancelled": TELL,
    "voucher_expired": TELL,
    "voucher_ended": NOTHING,
    "coupon_off": OTHER_COUPON,
    "coupon_not_started": OTHER_COUPON,
    "coupon_over": OTHER_COUPON,
    "basket_too_small": OTHER_COUPON,
    "coupon_limit_in_all": OTHER_COUPON,
    "coupon_limit_of_store": OTHER_COUPON,
    "coupon_limit_of_member": OTHER_COUPON,
    "coupon_for_members": _("The till should ask for the card: the coupon is for members."),
    "does_not_combine": OTHER_COUPON,
    "coupon_twice": OTHER_COUPON,
    "unknown_coupon": TYPED,
    "no_programme": BRAND,
    "ledger_refused": _("Report it to us: the points ledger refused, and nothing was recorded."),
    "in_flight": AGAIN,
    "body_too_large": _("Too much at once: send a long day as several batches."),
    "id_reused": NEW_ID,
    "receipt_conflict": NEW_ID,
    "refund_conflict": NEW_ID,
    "invalid_identifier": _(
        "Send exactly one of card, phone and e-mail, as the customer showed it; else ask again."
    ),
    "invalid_receipt": BODY,
    "invalid_amount": BODY,
    "invalid_quantity": BODY,
    "invalid_points": _("Points are spent in steps: the till should offer a multiple, as the quote says."),
    "mistyped_voucher": TYPED,
    "invalid_payment": PAYMENT,
    "unknown_redemption": PAYMENT,
    "voucher_not_used": PAYMENT,
    "pays_nothing": PAYMENT,
    "pays_another_ticket": PAYMENT,
    "payment_twice": PAYMENT,
    "reward_line": RETURN,
    "no_lines": BODY,
    "negative_total": _("The lines come to less than zero: goods brought back are sent as a return."),
    "time_without_zone": _("Send times with their zone, such as 2026-03-01T10:00:00+01:00."),
    "future_date": CLOCK,
    "implausible_date": CLOCK,
    "past_date": CLOCK,
    "unknown_line": RETURN,
    "line_twice": RETURN,
    "quantity_exceeded": RETURN,
    "amount_exceeded": RETURN,
    "unavailable": AGAIN,
}


def hint(status: int, code: str, replayed: bool = False, field: str = "") -> str:
    """What to do about an answer; nothing about one that went well."""
    if code == "invalid_body" and not field:
        return str(NO_JSON)
    if code in HINTS:
        return str(HINTS[code])
    if status == 202:
        return str(_("Nothing is to be done: the return waits for its sale."))
    if status >= 500:
        return str(AGAIN)
    if status >= 400:
        return str(PROGRAM)
    return str(_("Sent before, and answered as then.")) if replayed else ""
