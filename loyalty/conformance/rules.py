"""The contract of docs/till-api.md: one function a rule, its name for ever, its docstring the rule as printed.

The second paragraph of a docstring says what a till's own software makes of it.
"""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from loyalty.conformance.kit import Kit, moment, require, require_equal, require_replay
from loyalty.conformance.wire import Answer, Till

Rule = Callable[[Kit], None]
RULES: dict[str, Rule] = {}

AT_ONCE = 8
MEBIBYTE = 1024 * 1024
LONGEST_BATCH = 500


def rule(check: Rule) -> Rule:
    RULES[check.__name__] = check
    return check


# --- Keys ------------------------------------------------------------------------------------------------------------


@rule
def wrong_key(kit: Kit) -> None:
    """A wrong key or none is refused: 401 `unknown_till` with `WWW-Authenticate: Till`.

    Your till asks for a new key and does not try again by itself.
    """
    for key in ("", "wrong", f"{kit.till.key[:8]}wrong"):
        answer = Till(kit.till.url, key, kit.till.said).post("identify", {"member": kit.card()})
        answer.refused(401, "unknown_till")
        require_equal(answer.headers.get("www-authenticate"), "Till", "WWW-Authenticate")


# --- Members ---------------------------------------------------------------------------------------------------------


@rule
def unknown_member(kit: Kit) -> None:
    """Who shows a card that nobody knows is no member: 404 `unknown_member`.

    Your till offers to enrol, or sells without a member; it never stops the sale.
    """
    stranger = kit.card()
    kit.till.post("identify", {"member": stranger}).refused(404, "unknown_member")
    kit.till.post("redemptions", kit.redemption(stranger, 100)).refused(404, "unknown_member")
    nobody = "00000000-0000-4000-8000-000000000000"
    kit.till.get(f"members/{nobody}").refused(404, "unknown_member")


@rule
def enrol(kit: Kit) -> None:
    """`create` enrols who is not known, and finds them again: one card, one member.

    Your till may send it again after a timeout.
    """
    card = kit.card()
    person = {
        "first_name": "Camille",
        "last_name": "Essai",
        "consents": [{"channel": "email", "granted": False}],
    }
    first = kit.till.post("identify", {"member": card, "create": person}).done(200)
    again = kit.till.post("identify", {"member": card, "create": person}).done(200)
    require_equal(again["id"], first["id"], "the id of who was enrolled twice")
    balances = [first[name] for name in ("available", "pending", "debt")]
    require(all(isinstance(points, int) for points in balances), "the balances are no integers")


@rule
def identify_masked(kit: Kit) -> None:
    """What identifies a member comes back masked: enough to greet, no more.

    Your till prints no more about a customer than it was told.
    """
    card, mail = kit.card(), f"{kit.id().lower()}@mail.example"
    person = {"first_name": "Camille", "last_name": "Essai", "email": mail}
    kit.till.post("identify", {"member": card, "create": person}).done(200)
    for shown in (card, {"email": mail}):
        answer = kit.till.post("identify", {"member": shown})
        told = answer.done(200)
        require_equal(told["name"], "Camille E.", "the name")
        for secret in (b"Essai", mail.encode(), card["card"].encode()):
            require(secret not in answer.content, f"the answer holds «{secret.decode()}» in clear")


@rule
def one_identifier(kit: Kit) -> None:
    """A member shows exactly one of card, phone and e-mail: else 422 `invalid_identifier`.

    Your till sends what the customer showed, not everything it has.
    """
    two = kit.card() | {"email": "camille@mail.example"}
    for shown in (two, {}):
        kit.till.post("identify", {"member": shown}).refused(422, "invalid_identifier", field="member")


# --- Tickets ---------------------------------------------------------------------------------------------------------


@rule
def quote_records_nothing(kit: Kit) -> None:
    """A quote says what the ticket will earn, and records nothing.

    Your till may quote with every change of the basket.
    """
    member = kit.card()
    kit.till.post("identify", {"member": member, "create": {"first_name": "Camille"}}).done(200)
    before, sale = kit.has(member), kit.sale("80.00", member=member)
    quoted = kit.till.post("quotes", sale).done(200)
    require_equal(kit.has(member), before, "points after the quote")
    bought = kit.till.post("purchases", sale)
    require(not bought.replayed, "the purchase that was only quoted is told to have been recorded before")
    require_equal(bought.done(201)["points"], quoted["points"], "points of the purchase")


@rule
def purchase(kit: Kit) -> None:
    """A purchase credits its points at once and in whole cents; `explanation` has a step a rule, which sum to `points`.

    Your till prints the points and the balance that it was told, and computes none.
    """
    member = kit.card()
    told = kit.till.post("purchases", kit.sale("19.95", "29.95", "0.10", member=member)).done(201)
    require_equal(told["total_cents"], 5000, "total_cents of 19.95 + 29.95 + 0.10")
    steps = sum(step["points"] for step in told["explanation"])
    require_equal(steps, told["points"], "the sum of the explanation")
    require_equal(kit.has(member), told["points"], "points of the member afterwards")


@rule
def anonymous_purchase(kit: Kit) -> None:
    """A ticket without a member is recorded too, and earns nobody anything.

    Your till sends every ticket.
    """
    told = kit.till.post("purchases", kit.sale("12.00")).done(201)
    require_equal((told["member"], told["points"]), (None, 0), "member and points")


@rule
def replay(kit: Kit) -> None:
    """The same request again gets the same answer, byte for byte, with `Idempotent-Replayed: true`, and no effect.

    Your till repeats unchanged after a timeout, a power cut or a 5xx, until an answer comes.
    """
    member = kit.card()
    sale = kit.sale("49.90", member=member)
    first = kit.till.post("purchases", sale)
    first.done(201)
    kit.till.post("purchases", kit.sale("20.00", member=member)).done(201)
    before = kit.has(member)
    require_replay(kit.till.post("purchases", sale), first)
    require_equal(kit.has(member), before, "points after the repeated request")


@rule
def replay_spelled_differently(kit: Kit) -> None:
    """The content counts, not its spelling: `19.80` and `"19.80"`, another zone and another order are the same ticket.

    Your till may be updated between the two requests.
    """
    at = datetime.now(UTC).replace(microsecond=0)
    sale = kit.sale("19.80", member=kit.card(), at=at)
    first = kit.till.post("purchases", sale)
    first.done(201)
    there = at.astimezone(datetime.strptime("+0500", "%z").tzinfo)
    other = dict(reversed(sale.items())) | {"bought_at": there.isoformat()}
    other["lines"] = [{**line, "amount": 19.8} for line in sale["lines"]]
    require_replay(kit.till.post("purchases", other), first)


@rule
def id_reused(kit: Kit) -> None:
    """The same id with another content is refused, 422 `id_reused`, and changes nothing.

    Your till never counts its ids anew on the same day: it would lose tickets.
    """
    member = kit.card()
    sale = kit.sale("49.90", member=member)
    kit.till.post("purchases", sale).done(201)
    before = kit.has(member)
    other = kit.sale("99.90", member=member) | {"receipt_id": sale["receipt_id"]}
    kit.till.post("purchases", other).refused(422, "id_reused", "receipt_conflict", field="receipt_id")
    require_equal(kit.has(member), before, "points after the refused request")


@rule
def refusal_is_not_kept(kit: Kit) -> None:
    """A refusal is not remembered: the corrected request may use the same id.

    Your till corrects and sends again; it needs no new receipt.
    """
    sale = kit.sale("49.90", member=kit.card())
    wrong = sale | {"bought_at": moment(hours=72)}
    kit.till.post("purchases", wrong).refused(422, "future_date")
    answer = kit.till.post("purchases", sale)
    answer.done(201)
    require(not answer.replayed, "the corrected request is told to have been recorded before")


@rule
def clock(kit: Kit) -> None:
    """A till's clock may be 48 hours ahead; beyond that 422 `future_date`. A time without a zone is refused.

    Your till sets its clock from a time server, and sends the ticket again.
    """
    ahead = kit.sale(member=kit.card(), at=datetime.now(UTC) + timedelta(hours=47))
    kit.till.post("purchases", ahead).done(201)
    beyond = kit.sale(member=kit.card(), at=datetime.now(UTC) + timedelta(hours=49))
    kit.till.post("purchases", beyond).refused(422, "future_date", field="bought_at")
    naive = kit.sale(member=kit.card()) | {"bought_at": "2026-03-01T10:00:00"}
    answer = kit.till.post("purchases", naive)
    answer.refused(
        400 if answer.status == 400 else 422, "invalid_body", "time_without_zone", field="bought_at"
    )


@rule
def eight_at_once(kit: Kit) -> None:
    """Eight equal requests at once have one effect and hear one answer; or 409 `in_flight` with `Retry-After`.

    Your till may send from two threads, and repeats what is in flight.
    """
    member = kit.card()
    kit.till.post("purchases", kit.sale("10.00", member=member)).done(201)
    sale, before = kit.sale("49.90", member=member), kit.has(member)
    answers = together(AT_ONCE, lambda: kit.till.post("purchases", sale))
    for place, answer in enumerate(answers):
        if answer.status == 409:
            answer.refused(409, "in_flight")
            require("retry-after" in answer.headers, "in_flight without Retry-After")
            answers[place] = kit.till.post("purchases", sale)
    told = {answer.content for answer in answers}
    require_equal(len(told), 1, "different answers")
    require_equal(
        sum(not answer.replayed for answer in answers), 1, "answers that are not marked as repeated"
    )
    require_equal(kit.has(member) - before, answers[0].done(201)["points"], "points credited")


# --- Goods that come back --------------------------------------------------------------------------------------------


@rule
def refund_partial(kit: Kit) -> None:
    """A refund in parts takes back what the ticket earned less what it earns without them, in all the whole.

    Your till says what came back; money and points are the platform's to compute.
    """
    member = kit.card()
    sale = kit.sale("19.95", "29.95", member=member)
    earned = kit.till.post("purchases", sale).done(201)["points"]
    left = kit.till.post("quotes", kit.sale("29.95", member=member)).done(200)["points"]
    one = kit.till.post("refunds", kit.refund(sale, 1)).done(201)
    require_equal(one["refunded_cents"], 1995, "refunded_cents of the first line")
    require_equal(one["points_taken_back"], earned - left, "points taken back with the first line")
    two = kit.till.post("refunds", kit.refund(sale, 2)).done(201)
    require_equal(two["refunded_cents"], 2995, "refunded_cents of the second line")
    require_equal(one["points_taken_back"] + two["points_taken_back"], earned, "points taken back in all")


@rule
def refund_whole(kit: Kit) -> None:
    """A ticket brought back whole takes all its points back: the member has what they had before.

    Your till refunds by the receipt's number and the lines' numbers, counted from 1.
    """
    member = kit.card()
    kit.till.post("purchases", kit.sale("30.00", member=member)).done(201)
    before, sale = kit.has(member), kit.sale("19.95", "29.95", member=member)
    earned = kit.till.post("purchases", sale).done(201)["points"]
    told = kit.till.post("refunds", kit.refund(sale, 1, 2)).done(201)
    require_equal((told["refunded_cents"], told["points_taken_back"]), (4990, earned), "cents and points")
    require_equal(kit.has(member), before, "points of the member afterwards")


@rule
def refund_twice(kit: Kit) -> None:
    """The same refund again is a repeat; another refund of the same goods is refused, 422 `quantity_exceeded`.

    Your till keeps the id of a refund until it was answered.
    """
    member = kit.card()
    sale = kit.sale("19.95", "29.95", member=member)
    kit.till.post("purchases", sale).done(201)
    back = kit.refund(sale, 1)
    first = kit.till.post("refunds", back)
    first.done(201)
    before = kit.has(member)
    require_replay(kit.till.post("refunds", back), first)
    kit.till.post("refunds", kit.refund(sale, 1)).refused(422, "quantity_exceeded")
    kit.till.post("refunds", kit.refund(sale, 3)).refused(422, "unknown_line")
    require_equal(kit.has(member), before, "points of the member afterwards")


@rule
def refund_before_sale(kit: Kit) -> None:
    """A refund that overtakes its sale is parked, 202, and takes effect when the sale arrives.

    Your till need not send in order; it treats 202 as done.
    """
    member = kit.card()
    sale = kit.sale("49.90", member=member)
    back = kit.refund(sale, 1)
    early = kit.till.post("refunds", back)
    told = early.done(202)
    require_equal((told["parked"], told["points_taken_back"]), (True, 0), "parked and points_taken_back")
    require_replay(kit.till.post("refunds", back), early)
    kit.till.post("purchases", sale).done(201)
    require_equal(kit.has(member), 0, "points once the sale has arrived")


# --- Points spent ----------------------------------------------------------------------------------------------------


@rule
def redemption(kit: Kit) -> None:
    """Points buy the discount that was quoted, once: a repeat takes no more.

    Your till takes off what `discount_cents` says.
    """
    member, points, cents = kit.with_points()
    before, spend = kit.has(member), kit.redemption(member, points)
    first = kit.till.post("redemptions", spend)
    told = first.done(201)
    require_equal((told["points"], told["discount_cents"]), (points, cents), "points and discount_cents")
    require_replay(kit.till.post("redemptions", spend), first)
    require_equal(kit.has(member), before - points, "points afterwards")
    other = spend | {"points": points * 2}
    kit.till.post("redemptions", other).refused(422, "id_reused", field="redemption_id")


@rule
def not_enough_points(kit: Kit) -> None:
    """Nobody spends what they do not have: 409 `not_enough_points`, and nothing changes.

    Your till shows `detail`, which says how many are missing.
    """
    member, points, _cents = kit.with_points()
    before = kit.has(member)
    kit.till.post("redemptions", kit.redemption(member, points * 1000)).refused(409, "not_enough_points")
    require_equal(kit.has(member), before, "points afterwards")


@rule
def overspend_race(kit: Kit) -> None:
    """Of eight redemptions of all points at once, one succeeds; the others hear 409.

    Your till gives no discount before the answer has come.
    """
    member, points, _cents = kit.with_points()
    before = kit.has(member)
    asked = iter([kit.redemption(member, points) for _turn in range(AT_ONCE)])
    answers = together(AT_ONCE, lambda: kit.till.post("redemptions", next(asked)))
    require_equal(sum(answer.status == 201 for answer in answers), 1, "redemptions that succeeded")
    for answer in answers:
        if answer.status != 201:
            answer.refused(409, "not_enough_points", "in_flight")
    require_equal(kit.has(member), before - points, "points afterwards")


@rule
def reservation_commit(kit: Kit) -> None:
    """Reserved points are nobody else's; committed they are spent, once, however often it is said.

    Your till reserves while the customer still chooses, and commits when the basket is paid.
    """
    member, points, cents = kit.with_points()
    available = kit.till.post("identify", {"member": member}).done(200)["available"]
    aside = kit.reservation(member, points)
    first = kit.till.post("reservations", aside)
    told = first.done(201)
    require_equal(told["discount_cents"], cents, "discount_cents")
    require_equal(told["available"], available - points, "available while reserved")
    require("expires_at" in told, "expires_at is missing")
    require_replay(kit.till.post("reservations", aside), first)
    kit.till.post("redemptions", kit.redemption(member, points)).refused(409, "not_enough_points")
    end = {"reservation_id": aside["reservation_id"]}
    paid = kit.till.post("reservations/commit", end)
    require_equal(paid.done(201)["discount_cents"], cents, "discount_cents of the commit")
    require_replay(kit.till.post("reservations/commit", end), paid)
    kit.till.post("reservations/cancel", end).refused(409, "reservation_spent", field="reservation_id")
    after = kit.till.post("identify", {"member": member}).done(200)["available"]
    require_equal(after, available - points, "available after the commit")


@rule
def reservation_cancel(kit: Kit) -> None:
    """A reservation that is given up puts the points back, once; it cannot be committed any more.

    Your till gives up the basket that nobody pays; a quarter of an hour does it else.
    """
    member, points, _cents = kit.with_points()
    before, aside = kit.has(member), kit.reservation(member, points)
    kit.till.post("reservations", aside).done(201)
    end = {"reservation_id": aside["reservation_id"]}
    given = kit.till.post("reservations/cancel", end)
    require_equal(given.done(201)["points_given_back"], points, "points_given_back")
    require_replay(kit.till.post("reservations/cancel", end), given)
    kit.till.post("reservations/commit", end).refused(409, "reservation_cancelled", field="reservation_id")
    require_equal(kit.has(member), before, "points afterwards")


@rule
def reservation_unknown(kit: Kit) -> None:
    """A reservation that this till did not make is unknown: 404. More than there is cannot be reserved: 409.

    Your till reserves again where the first request got lost.
    """
    nobody = {"reservation_id": kit.id()}
    for path in ("reservations/commit", "reservations/cancel"):
        kit.till.post(path, nobody).refused(404, "unknown_reservation", field="reservation_id")
    member, points, _cents = kit.with_points()
    much = kit.reservation(member, points * 1000)
    kit.till.post("reservations", much).refused(409, "not_enough_points")


# --- Offline ---------------------------------------------------------------------------------------------------------


@rule
def batch(kit: Kit) -> None:
    """A batch has a result for each ticket in the order sent; a bad one keeps no other out; a double counts once.

    Your till reads each `status`: 201 is done, 400 and 422 need a person, whatever the batch's own status.
    """
    member = kit.card()
    start = datetime.now(UTC) - timedelta(hours=30)
    early, late = (kit.sale("20.00", member=member, at=start + timedelta(hours=n)) for n in (0, 9))
    bad = kit.sale("10.00", at=datetime.now(UTC) + timedelta(hours=72))
    told = kit.till.post("purchases/batch", {"purchases": [late, bad, early, late]}).done(200)["results"]
    asked = [sale["receipt_id"] for sale in (late, bad, early, late)]
    require_equal([item["receipt_id"] for item in told], asked, "the order of the results")
    require_equal([item["status"] for item in told], [201, 422, 201, 201], "the status of each")
    require_equal(told[1]["problem"]["code"], "future_date", "the code of the bad ticket")
    require_equal(told[1]["problem"]["field"], "bought_at", "the field of the bad ticket")
    require_equal([item["replayed"] for item in told], [False, False, False, True], "which are repeats")
    require_equal(told[3]["answer"], told[0]["answer"], "the answer to the double")
    earned = told[0]["answer"]["points"] + told[2]["answer"]["points"]
    require_equal(kit.has(member), earned, "points of the member afterwards")


@rule
def batch_again(kit: Kit) -> None:
    """A batch sent again, in another order or ticket by ticket, has no further effect and hears the same.

    Your till sends the whole batch again where the answer was cut off.
    """
    member = kit.card()
    start = datetime.now(UTC) - timedelta(hours=40)
    day = [kit.sale("11.00", member=member, at=start + timedelta(hours=8 * n)) for n in range(4)]
    first = kit.till.post("purchases/batch", {"purchases": day}).done(200)["results"]
    before, answers = kit.has(member), {item["receipt_id"]: item["answer"] for item in first}
    random.shuffle(day)
    again = kit.till.post("purchases/batch", {"purchases": day}).done(200)["results"]
    require(
        all(item["replayed"] for item in again), "an item of the repeated batch is not marked as repeated"
    )
    require_equal({item["receipt_id"]: item["answer"] for item in again}, answers, "the answers")
    single = kit.till.post("purchases", day[0])
    require_equal(single.done(201), answers[day[0]["receipt_id"]], "the answer to the single ticket")
    require(single.replayed, "the single ticket is not marked as repeated")
    require_equal(kit.has(member), before, "points of the member afterwards")


@rule
def receipt_conflict(kit: Kit) -> None:
    """A receipt that stands twice in a batch with different contents is refused the second time: 422.

    Your till numbers its receipts without gaps and without repeats, also offline.
    """
    sale = kit.sale("20.00", member=kit.card())
    other = kit.sale("30.00") | {"receipt_id": sale["receipt_id"], "bought_at": sale["bought_at"]}
    told = kit.till.post("purchases/batch", {"purchases": [sale, other]}).done(200)["results"]
    require_equal([item["status"] for item in told], [201, 422], "the status of each")
    require(told[1]["problem"]["code"] in ("receipt_conflict", "id_reused"), "the code is another one")


@rule
def offline_day(kit: Kit) -> None:
    """A day's tickets that arrive late are judged as on their day, and none is lost.

    Your till keeps its tickets on disk, with their own time, until they were answered.
    """
    opened = datetime.now(UTC) - timedelta(hours=36)
    day = [kit.sale("23.00", member=kit.card(), at=opened + timedelta(minutes=15 * n)) for n in range(40)]
    quoted = kit.till.post("quotes", day[0] | {"member": None}).done(200)["points"]
    told = kit.till.post("purchases/batch", {"purchases": day}).done(200)["results"]
    require_equal({item["status"] for item in told}, {201}, "the status of each")
    require_equal({item["answer"]["points"] for item in told}, {quoted}, "the points of each")


@rule
def batch_too_long(kit: Kit) -> None:
    """A batch has at most 500 tickets: more is 400 `invalid_body`, and none is recorded.

    Your till cuts a long day into batches.
    """
    sale = kit.sale("1.00")
    many = {"purchases": [sale | {"receipt_id": kit.id()} for _turn in range(LONGEST_BATCH)] + [sale]}
    kit.till.post("purchases/batch", many).refused(400, "invalid_body", field="purchases")
    require(not kit.till.post("purchases", sale).replayed, "a ticket of the refused batch was recorded")


# --- Two tills -------------------------------------------------------------------------------------------------------


@rule
def other_till(kit: Kit) -> None:
    """Receipts, redemptions and reservations are each till's own: another one may use the same ids.

    Your tills need no common counter.
    """
    other, member = kit.other_till(), kit.card()
    sale = kit.sale("20.00", member=member)
    kit.till.post("purchases", sale).done(201)
    second = other.post("purchases", kit.sale("35.00", member=member) | {"receipt_id": sale["receipt_id"]})
    second.done(201)
    require(not second.replayed, "another till's ticket was taken for this one's")
    member, points, _cents = kit.with_points()
    aside = kit.reservation(member, points)
    kit.till.post("reservations", aside).done(201)
    end = {"reservation_id": aside["reservation_id"]}
    for path in ("reservations/commit", "reservations/cancel"):
        other.post(path, end).refused(404, "unknown_reservation")
    kit.till.post("reservations/cancel", end).done(201)


# --- What the member has ---------------------------------------------------------------------------------------------


@rule
def member_statement(kit: Kit) -> None:
    """What a member has is what the last answer said, read by id or by card, at this till or another.

    Your till may show it at any time; it keeps no balance of its own.
    """
    member = kit.card()
    told = kit.till.post("purchases", kit.sale("75.00", member=member)).done(201)
    for till in filter(None, (kit.till, kit.second)):
        found = till.post("identify", {"member": member}).done(200)
        require_equal(found["id"], told["member"], "the member's id")
        for name in ("available", "pending", "debt", "tier"):
            require_equal(found[name], told[name], name)
    read = kit.till.get(f"members/{told['member']}").done(200)
    for name in ("available", "pending", "debt", "tier"):
        require_equal(read[name], told[name], f"{name} read by id")


# --- The wire --------------------------------------------------------------------------------------------------------


@rule
def malformed_json(kit: Kit) -> None:
    """What is no JSON of the documented shape is 400 `invalid_body`, which names the field at fault.

    Your program is to be corrected: sent again unchanged, it is refused again.
    """
    for body in (b'{"member": ', b"", b"[]", b'"card"'):
        kit.till.post("identify", body).refused(400, "invalid_body")
    wrong = {"member": {"card": 42}}
    kit.till.post("identify", wrong).refused(400, "invalid_body", field="member.card")
    kit.till.post("purchases", kit.sale() | {"lines": []}).refused(400, "invalid_body", field="lines")
    mistyped = kit.sale() | {"recu": "R1"}
    kit.till.post("purchases", mistyped).refused(400, "invalid_body")


@rule
def wrong_content(kit: Kit) -> None:
    """Amounts have two decimals, quantities are more than zero, totals are not below it: 422, and the field is named.

    Your till sends what it printed.
    """
    line = {"sku": "1", "amount": 1.0}
    for lines, code, field in (
        ([line, {"sku": "2", "amount": 1.005}], "invalid_amount", "lines[1].amount"),
        ([{**line, "quantity": 0}], "invalid_quantity", "lines[0].quantity"),
        ([{**line, "amount": -1}], "negative_total", ""),
    ):
        kit.till.post("purchases", kit.sale() | {"lines": lines}).refused(422, code, field=field)


@rule
def nothing_is_a_500(kit: Kit) -> None:
    """Whatever is sent, the answer is a problem that says what is wrong: never a 5xx.

    Your till may rely on it: a 5xx or no answer means «again», a 4xx means «not like this».
    """
    deep = b'{"member":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    bodies = (
        deep, b'{"member": {"card": "\\u0000"}}', b'{"member": {"card": "\xff\xfe"}}', b"\x00", b"null", b"NaN",
        b'{"member": {"card": "' + b"9" * 10_000 + b'"}}', b'{"member": {"phone": "+"}}',
        b'{"member": {"email": "@"}}', b'{"member": {"card": "\xf0\x9f\x92\xb3"}}',
    )  # fmt: skip
    for body in bodies:
        answer = kit.till.post("identify", body)
        require(400 <= answer.status < 500, f"{answer.status} for a body that is wrong")
        answer.refused(answer.status, "invalid_body", "invalid_identifier", "unknown_member")


@rule
def oversize_body(kit: Kit) -> None:
    """A body of more than 1 MiB is refused: 413 `body_too_large`.

    Your till sends a long day as a batch, which may hold 4 MiB.
    """
    kit.till.post("identify", b" " * (MEBIBYTE + 1)).refused(413, "body_too_large")


@rule
def paths_and_methods(kit: Kit) -> None:
    """An unknown path is 404 `not_found`, another method 405 with `Allow`.

    Your program is to be corrected.
    """
    kit.till.post("nothing-here", {}).refused(404, "not_found")
    answer = kit.till.get("identify")
    answer.refused(405, "method_not_allowed")
    require_equal(answer.headers.get("allow"), "POST", "Allow")


@rule
def headers(kit: Kit) -> None:
    """Answers are JSON of a known length, without cookies; who gives an `ETag` honours `If-None-Match` with 304.

    Your till keeps nothing but its key.
    """
    told = kit.till.post("purchases", kit.sale("5.00", member=kit.card()))
    read = kit.till.get(f"members/{told.done(201)['member']}")
    read.done(200)
    for answer in (told, read):
        require_equal(answer.headers.get("content-length"), str(len(answer.content)), "Content-Length")
        require("set-cookie" not in answer.headers, "an answer sets a cookie")
    if tag := read.headers.get("etag"):
        again = kit.till.get(f"members/{told.json['member']}", If_None_Match=tag)
        require_equal(again.status, 304, "the status with If-None-Match")


@rule
def language(kit: Kit) -> None:
    """Words follow `Accept-Language`; codes and fields never do.

    Your program reads `code`; `title` and `detail` are for the cashier's screen.
    """
    card = {"member": kit.card()}
    english = kit.till.post("identify", card, Accept_Language="en").refused(404, "unknown_member")
    french = kit.till.post("identify", card, Accept_Language="fr").refused(404, "unknown_member")
    require(french["title"] != english["title"], "the title is the same in French and in English")


def together(number: int, ask: Callable[[], Answer]) -> list[Answer]:
    """Ask from so many threads that begin at the same moment."""
    barrier = threading.Barrier(number)

    def begin() -> Answer:
        barrier.wait(10)
        return ask()

    with ThreadPoolExecutor(number) as pool:
        return [running.result() for running in [pool.submit(begin) for _turn in range(number)]]
