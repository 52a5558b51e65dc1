"""The table of roles is the test: what each may do over HTTP equals `roles.PERMISSIONS`, row by row.

Models, paths and roles are enumerated, so a new one is tested as soon as it stands; a model that is registered for
the admin needs a row in `rows` below.
"""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.contrib import admin
from django.urls import reverse

import campaigns.api
import profiles.api
from campaigns.models import Campaign, Export, Handout, Segment
from campaigns.segments.saving import save
from cdp.admin_sites import platform_site
from loyalty import replay, till, vouchers
from loyalty.models import (
    Account,
    Action,
    Adjustment,
    AppleIssuer,
    BreakageEstimate,
    Case,
    Cashier,
    Claim,
    ClaimTally,
    Coupon,
    FundingKey,
    GoogleIssuer,
    Lot,
    OpeningRun,
    ParkedReturn,
    Programme,
    Replay,
    Reward,
    Rule,
    RuleDraft,
    SavedSimulation,
    SettlementStatement,
    StackingClass,
    StoreExit,
    StorePlace,
    Tier,
    TierChange,
    TierGift,
    Transaction,
    Voucher,
)
from profiles import blocked, merging
from profiles.intake import EventStatement, Sender, Statement, record_events, take_in_records
from profiles.models import (
    BlockedValue,
    Connection,
    Event,
    EventType,
    ImportRun,
    MatchCandidate,
    Merge,
    Profile,
    Purchase,
    QuarantinedEvent,
    Site,
    Source,
    UnknownProperty,
)
from tenants.models import Brand, Domain
from tenants.network.models import (
    AuditEvent,
    Job,
    Region,
    Staff,
    Store,
    Till,
    WebhookEndpoint,
    WebhookMessage,
)
from tenants.roles import PERMISSIONS, Role
from tests.conftest import PASSWORD
from tests.loyalty.conftest import programme, ticket  # noqa: F401 - a fixture

ROLES = [Role.BRAND_ADMIN, Role.MARKETER, Role.ANALYST, Role.STORE_MANAGER]
REGISTERED = sorted(admin.site._registry, key=lambda model: model._meta.label)
VIEWSETS = [*profiles.api.viewsets, *campaigns.api.viewsets]


def label(model) -> str:
    return model._meta.label


def may(role: str, deed: str, model) -> bool:
    meta = model._meta
    return f"{meta.app_label}.{deed}_{meta.model_name}" in PERMISSIONS[role]


@pytest.fixture
def rows(lille, lille_till, programme, diane) -> dict:  # noqa: F811
    """One row of each registered model, known in Lille."""
    till.record_purchase(lille_till[0], ticket("R1", 15000))
    one = Profile.objects.get()
    source = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
    told = [
        Statement(n, {"first_name": "Marie"}, raw={"n": n}, store_code=lille.code) for n in ("1", "2", "3")
    ]
    two, three, four = (
        Profile.objects.get(pk=outcome.profile_id) for outcome in take_in_records(source, told)
    )
    merging.merge(three, four, ground=Merge.Ground.PERSON, by=diane)
    asked = {"weight": 1, "probability": 0.5, "model_version": "1"}
    everyone = {"all": [{"field": "purchases", "op": ">=", "value": 1}]}
    segment, unused = Segment(name="Own", store=lille), Segment(name="Unused", store=lille)
    save(segment, everyone, diane)
    save(unused, everyone, diane)
    campaign = Campaign.objects.create(
        name="C", segment=segment, goal="visit", goal_days=30, goal_uplift=Decimal(1), store=lille
    )
    reward = Reward.objects.create(
        code="mug", name="Mug", kind="gift", points=1, valid_from=datetime.now(UTC).date()
    )
    run = ImportRun.objects.create(
        source=source, file_name="a.csv", charset="utf-8", delimiter=";", finished_at=datetime.now(UTC)
    )
    now = datetime.now(UTC)
    told = [
        EventStatement("E1", "store_visited", now, properties={"mood": "good"}),
        EventStatement("E2", "cart_exploded", now),
    ]
    record_events(Sender.of_till(lille_till[0]), told)
    return {
        Event: Event.objects.get(),
        EventType: EventType.objects.get(code="store_visited"),
        UnknownProperty: UnknownProperty.objects.get(),
        QuarantinedEvent: QuarantinedEvent.objects.get(),
        Site: Site.objects.create(name="Shop", source=source),
        Profile: one,
        MatchCandidate: MatchCandidate.objects.create(left=one, right=two, **asked),
        Purchase: Purchase.objects.get(),
        Source: source,
        ImportRun: run,
        BlockedValue: blocked.block("phone", "0320123456", reason="the reception", by=diane),
        Connection: Connection.objects.create(kind="contest", name="Contest", source=source),
        Programme: programme,
        Tier: Tier.objects.first(),
        Rule: Rule.objects.first(),
        Account: Account.objects.filter(kind="issued").get(),
        Transaction: Transaction.objects.get(kind="earn"),
        Lot: Lot.objects.get(),
        Action: Action.objects.create(
            code="review", key="1", profile=one, store=lille, occurred_at=now, why="no rule"
        ),
        TierChange: TierChange.objects.create(profile=one, after="silver", why="earned"),
        Claim: Claim.objects.create(purchase=Purchase.objects.get(), store=lille, profile=one, points=0),
        ClaimTally: ClaimTally.objects.create(
            week=now.date(), store=lille, claims=1, cents=1, points=1, share=100
        ),
        ParkedReturn: ParkedReturn.objects.create(
            store=lille,
            till=lille_till[0],
            business_day=now.date(),
            refund_id="B1",
            receipt_id="R2",
            sale_store=lille.code,
            statement={},
        ),
        Case: Case.objects.create(kind="debt", store=lille, profile=one, day=now.date()),
        Cashier: Cashier.objects.create(store=lille, code="C7"),
        StorePlace: StorePlace.objects.create(store=lille, latitude="50.63", longitude="3.06"),
        Reward: reward,
        Voucher: vouchers.give(one, reward, key="k", store=lille),
        Coupon: Coupon.objects.create(code="C", name="C", kind="amount", amount=1, starts_at=now),
        StackingClass: StackingClass.objects.create(code="s", name="S"),
        TierGift: TierGift.objects.create(tier=Tier.objects.first(), reward=reward),
        StoreExit: StoreExit.objects.create(store=lille, on=datetime(2999, 1, 1, tzinfo=UTC).date()),
        SettlementStatement: SettlementStatement.objects.create(month=date(2026, 10, 1), line_count=0),
        FundingKey: FundingKey.objects.create(effective_from=now, earner=100, redeemer=0, head_office=0),
        BreakageEstimate: BreakageEstimate.objects.create(percent=20, reason="pilot", made_by=diane),
        Adjustment: Adjustment.objects.create(
            key="k", profile=one, store=lille, points=500, reason="goodwill", comment="c", asked_by=diane
        ),
        OpeningRun: OpeningRun.objects.create(file_name="a.csv", told_points=1, uploaded_by=diane),
        SavedSimulation: SavedSimulation.objects.create(
            name="Fifty",
            store=lille,
            weekday=0,
            time="11:00",
            expected_points=50,
            made_by=diane,
            lines=[{"sku": "A", "category": "", "quantity": "1", "amount_cents": 5000}],
        ),
        Replay: _replay(diane),
        AppleIssuer: AppleIssuer.objects.create(
            pass_type="pass.acme", team="T", certificate="c", intermediate="i", valid_until=now
        ),
        GoogleIssuer: GoogleIssuer.objects.create(class_id="1.acme", account="a", key_id="k"),
        Segment: unused,
        Campaign: campaign,
        Export: Export.objects.create(
            campaign=campaign,
            segment_version=segment.versions.get(),
            format="emailing",
            columns=[],
            purpose="p",
            store=lille,
        ),
        Region: lille.region,
        Store: lille,
        Staff: Staff.objects.create_user(
            "eve@acme.example", PASSWORD, full_name="Eve", role=Role.ANALYST, language="en"
        ),
        Till: lille_till[0],
        WebhookEndpoint: _webhook(now),
        Job: Job.objects.create(kind="k", title="t", store=lille, asked_by=diane),
        AuditEvent: AuditEvent.objects.create(actor="Eve", verb="viewed", object_type="profile", store=lille),
    }


def _replay(diane) -> Replay:
    """One of a draft that is still there."""
    rule = Rule.objects.first()
    drafted = {"rule": rule, "terms": {"points": 2, "per_cents": 100}, "made_by": diane}
    return replay.ask([RuleDraft.objects.create(**drafted)], by=diane)


def _webhook(now) -> WebhookEndpoint:
    """A webhook that is switched off, with a message that was delivered."""
    made = WebhookEndpoint(name="Hook", url="http://127.0.0.1:9/", events=["points.posted"], is_on=False)
    made.issue_secret()
    WebhookMessage.objects.create(
        endpoint=made, event="points.posted", happened_at=now, data={}, state="delivered"
    )
    return made


@pytest.fixture
def client(client_of, lille):
    """`client(role)`: signed in as somebody of the role; a store manager manages Lille."""

    def make(role):
        staff = Staff.objects.create_user(
            f"{role}@acme.example", PASSWORD, full_name=str(role), role=role, language="en"
        )
        if role == Role.STORE_MANAGER:
            staff.stores.set([lille])
        return client_of(staff)

    return make


def test_every_registered_model_has_a_row_here_or_is_nobodys(rows):
    for model in set(REGISTERED) - set(rows):
        meta = model._meta
        granted = {
            deed for deeds in PERMISSIONS.values() for deed in deeds if deed.startswith(f"{meta.app_label}.")
        }
        assert granted == set(), label(model)


def test_every_role_has_rows_in_the_table():
    assert set(PERMISSIONS) == set(Role)


# --- Head office's pages ----------------------------------------------------------------------------------------

FINE = {200}
REFUSED = {403}


def address(model, deed, row) -> str:
    meta = model._meta
    page = {"view": "changelist", "add": "add", "change": "change", "delete": "delete"}[deed]
    arguments = [] if deed in ("view", "add") else [row.pk if row else 1]
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=arguments)


@pytest.mark.parametrize("role", ROLES)
def test_lists_and_forms_open_to_whom_the_table_says(rows, client, role):
    browser, wrong = client(role), []
    for model in REGISTERED:
        for deed in ("view", "add", "delete"):
            expected = FINE if may(role, deed, model) else REFUSED
            found = browser.get(address(model, deed, rows.get(model))).status_code
            if found not in expected:
                wrong.append((label(model), deed, found, expected))
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
def test_a_row_is_read_and_changed_by_whom_the_table_says(rows, client, role):
    browser, wrong = client(role), []
    for model in REGISTERED:
        page = address(model, "change", rows.get(model))
        seen = browser.get(page)
        # Rows of the whole network are not there for a store: the page says so and leads home.
        expected = {200, 302} if may(role, "view", model) else REFUSED
        if seen.status_code not in expected:
            wrong.append((label(model), "read", seen.status_code, expected))
        if seen.status_code == 302 and role != Role.STORE_MANAGER:
            wrong.append((label(model), "read", 302, seen.headers["Location"]))
        saved = browser.post(page, {}).status_code
        if not may(role, "change", model) and saved == 302 and seen.status_code == 200:
            wrong.append((label(model), "saved", saved, REFUSED))
        if not may(role, "view", model) and not may(role, "change", model) and saved not in REFUSED:
            wrong.append((label(model), "post", saved, REFUSED))
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_changed_by_who_may_not(rows, client, role):
    """Every form is posted empty and full of a stranger's values: no row is another one afterwards."""
    browser = client(role)
    before = {model: model._base_manager.filter(pk=row.pk).values().get() for model, row in rows.items()}
    for model in REGISTERED:
        if not may(role, "change", model):
            browser.post(
                address(model, "change", rows.get(model)), {"name": "Stolen", "code": "stolen", "trust": 1}
            )
        if not may(role, "delete", model):
            browser.post(address(model, "delete", rows.get(model)), {"post": "yes"})
        if not may(role, "add", model):
            browser.post(
                address(model, "add", None), {"name": "Stolen", "code": "stolen", "full_name": "Stolen"}
            )
    after = {model: model._base_manager.filter(pk=row.pk).values().get() for model, row in rows.items()}
    assert after == before
    for model in (Source, Rule, Tier, Region, Store, Segment, Campaign):
        if not may(role, "add", model):
            assert not model._base_manager.filter(name="Stolen").exists()


# --- Deeds of their own -----------------------------------------------------------------------------------------


def deeds(rows) -> list[tuple[str, str, dict, str]]:
    """(name, address, form, permission) of every deed that is neither add, change nor delete."""
    merge = Merge.objects.get()
    ticket = rows[Purchase]
    handout = Handout.objects.create(
        campaign=rows[Campaign], points=1, people=1, cost_cents=5, purpose="p", store=rows[Store],
        job=Job.objects.create(kind="handout", title="t"), asked_by=Staff.objects.get(email="diane@acme.example"),
    )  # fmt: skip
    return [
        ("give a ticket", reverse("admin:profiles_purchase_give", args=[ticket.pk]),
         {"to": rows[MatchCandidate].right_id, "reason": "wrong card"}, "profiles.move_purchase"),
        ("move a ticket back", reverse("admin:profiles_purchase_move_back", args=[ticket.pk, 1]), {},
         "profiles.move_purchase"),
        ("unpin", reverse("admin:profiles_profile_unpin", args=[rows[Profile].pk, 1]), {}, "profiles.change_profile"),
        ("household", reverse("admin:profiles_profile_household", args=[rows[Profile].pk]),
         {"other": rows[MatchCandidate].right_id}, "profiles.change_profile"),
        ("pin", reverse("admin:profiles_profile_pin", args=[rows[Profile].pk]), {"field": "city", "value": "Lille"},
         "profiles.change_profile"),
        ("decide", reverse("admin:profiles_matchcandidate_decide", args=[rows[MatchCandidate].pk]),
         {"decision": "never"}, "profiles.decide_matchcandidate"),
        ("undo", reverse("admin:profiles_matchcandidate_undo"), {}, "profiles.decide_matchcandidate"),
        ("skip", reverse("admin:profiles_matchcandidate_skip", args=[rows[MatchCandidate].pk]), {},
         "profiles.decide_matchcandidate"),
        ("keys", reverse("admin:profiles_matchcandidate_keys"), {"keys": "off"}, "profiles.view_matchcandidate"),
        ("merge many", reverse("admin:profiles_matchcandidate_bulk_merge"), {"least": "97", "same": "card"},
         "profiles.decideall_matchcandidate"),
        ("compare all", reverse("admin:profiles_matchcandidate_unify"), {}, "profiles.learn_matchingmodel"),
        ("undo many", reverse("admin:profiles_matchcandidate_bulk_undo", args=[rows[Job].pk]), {},
         "profiles.decideall_matchcandidate"),
        ("separate", reverse("admin:profiles_profile_separate", args=[merge.winner_id, merge.pk]), {},
         "profiles.merge_profile"),
        ("consent", reverse("admin:profiles_profile_consent", args=[rows[Profile].pk]),
         {"channel": "email", "granted": "no"}, "profiles.change_profile"),
        ("unknown property", reverse("admin:profiles_unknownproperty_decide", args=[rows[UnknownProperty].pk]),
         {"decision": "ignore"}, "profiles.decide_unknownproperty"),
        ("release", reverse("admin:profiles_quarantinedevent_release", args=[rows[QuarantinedEvent].pk]), {},
         "profiles.release_quarantinedevent"),
        ("renew site", reverse("admin:profiles_site_renew", args=[rows[Site].pk]), {}, "profiles.change_site"),
        ("freeze", reverse("admin:campaigns_campaign_freeze", args=[rows[Campaign].pk]), {},
         "campaigns.change_campaign"),
        ("export", reverse("admin:campaigns_campaign_export", args=[rows[Campaign].pk]), {"format": "emailing"},
         "campaigns.export_campaign"),
        ("give to an audience", reverse("admin:campaigns_handout_give", args=[rows[Campaign].pk]), {},
         "campaigns.add_handout"),
        ("call a gift back", reverse("admin:campaigns_handout_call_back", args=[handout.pk]), {},
         "campaigns.add_handout"),
        ("carry a gift on", reverse("admin:campaigns_handout_resume", args=[handout.pk]), {}, "campaigns.add_handout"),
        ("renew", reverse("admin:network_till_renew", args=[rows[Till].pk]), {}, "network.change_till"),
        ("revoke", reverse("admin:network_till_revoke", args=[rows[Till].pk]), {}, "network.change_till"),
        ("invite", reverse("admin:network_staff_invite", args=[rows[Staff].pk]), {}, "network.change_staff"),
        ("test a connector", reverse("admin:profiles_connection_test", args=[rows[Connection].pk]), {},
         "profiles.change_connection"),
        ("look", reverse("admin:profiles_connection_look", args=[rows[Connection].pk]), {},
         "profiles.change_connection"),
        ("renew its key", reverse("admin:profiles_connection_key", args=[rows[Connection].pk]), {},
         "profiles.change_connection"),
        ("forget its host", reverse("admin:profiles_connection_forget", args=[rows[Connection].pk]), {},
         "profiles.change_connection"),
        ("decide a case", reverse("admin:loyalty_case_decide", args=[rows[Case].pk]), {"decision": "release"},
         "loyalty.decide_case"),
        ("close a return", reverse("admin:loyalty_parkedreturn_close", args=[rows[ParkedReturn].pk]), {},
         "loyalty.close_parkedreturn"),
        ("cancel a voucher", reverse("admin:loyalty_voucher_cancel", args=[rows[Voucher].pk]), {},
         "loyalty.cancel_voucher"),
        ("give a voucher", reverse("admin:loyalty_voucher_give", args=[rows[Profile].pk]), {}, "loyalty.give_voucher"),
        ("close a month", reverse("admin:loyalty_settlementstatement_close"), {},
         "loyalty.close_settlementstatement"),
        ("decide an adjustment", reverse("admin:loyalty_adjustment_decide", args=[rows[Adjustment].pk]), {},
         "loyalty.decide_adjustment"),
        ("sign off", reverse("admin:loyalty_openingrun_sign", args=[rows[OpeningRun].pk]), {},
         "loyalty.sign_openingrun"),
        ("call off a replay", reverse("admin:loyalty_replay_call_off", args=[rows[Replay].pk]), {},
         "loyalty.add_replay"),
        ("carry a replay on", reverse("admin:loyalty_replay_resume", args=[rows[Replay].pk]), {},
         "loyalty.add_replay"),
        ("publish", reverse("admin:loyalty_rule_publish", args=[rows[Rule].pk]), {}, "loyalty.change_rule"),
        ("throw a draft away", reverse("admin:loyalty_rule_discard", args=[rows[Rule].pk]), {}, "loyalty.change_rule"),
        ("test a webhook", reverse("admin:network_webhookendpoint_test", args=[rows[WebhookEndpoint].pk]), {},
         "network.change_webhookendpoint"),
        ("renew its secret", reverse("admin:network_webhookendpoint_secret", args=[rows[WebhookEndpoint].pk]), {},
         "network.change_webhookendpoint"),
        ("send again", reverse("admin:network_webhookendpoint_send_again", args=[
            rows[WebhookEndpoint].pk, WebhookMessage.objects.get(event="points.posted").pk]), {},
         "network.change_webhookendpoint"),
        ("make a member's link", reverse("me:make_link", args=[rows[Profile].pk]), {}, "loyalty.add_memberlinks"),
        ("end a member's links", reverse("me:end_links", args=[rows[Profile].pk]), {}, "loyalty.add_memberlinks"),
        ("retire a pass", reverse("wallet:retire", args=[rows[Profile].pk]), {}, "loyalty.retire_walletpass"),
        ("new version", reverse("admin:loyalty_rule_new_version", args=[rows[Rule].pk]), {}, "loyalty.change_rule"),
    ]  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_deeds_are_done_by_whom_the_table_says(rows, client, role):
    browser, wrong = client(role), []
    for name, page, form, permission in deeds(rows):
        found = browser.post(page, form).status_code
        if (found == 403) == (permission in PERMISSIONS[role]):
            wrong.append((name, found, permission))
    download = browser.get(reverse("admin:campaigns_export_download", args=[rows[Export].pk])).status_code
    if (download == 403) == ("campaigns.download_export" in PERMISSIONS[role]):
        wrong.append(("download", download, "campaigns.download_export"))
    assert wrong == []


def test_deeds_are_never_done_by_a_link(rows, client):
    browser = client(Role.BRAND_ADMIN)
    for name, page, _form, _permission in deeds(rows):
        # Three have a page of their own, which says what would be done.
        if name not in ("new version", "publish", "give to an audience"):
            assert browser.get(page).status_code in (403, 405), name


# --- API --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_the_api_answers_whom_the_table_says(rows, client, role):
    browser, wrong = client(role), []
    for prefix, viewset in VIEWSETS:
        found = browser.get(f"/api/v1/{prefix}").status_code
        if found != (200 if may(role, "view", viewset.queryset.model) else 403):
            wrong.append((prefix, found))
        for method in ("post", "put", "patch", "delete"):
            answer = getattr(browser, method)(f"/api/v1/{prefix}", {}, content_type="application/json")
            if answer.status_code not in (401, 403, 405):
                wrong.append((prefix, method, answer.status_code))
    assert wrong == []


# --- Nobody, and the platform -----------------------------------------------------------------------------------


def test_who_did_not_sign_in_gets_the_login_page_or_a_refusal(rows, client_of):
    browser = client_of()
    for model in REGISTERED:
        for deed in ("view", "add", "change", "delete"):
            answer = browser.get(address(model, deed, rows.get(model)))
            assert answer.status_code == 302
            assert answer.headers["Location"].startswith("/login/")
    for _name, page, form, _permission in deeds(rows):
        assert browser.post(page, form).status_code == 302
    for prefix, _viewset in VIEWSETS:
        assert browser.get(f"/api/v1/{prefix}").status_code in (401, 403)


def test_who_was_made_inactive_is_nobody(rows, client, client_of):
    browser = client(Role.BRAND_ADMIN)
    assert browser.get(reverse("admin:index")).status_code == 200
    Staff.objects.filter(role=Role.BRAND_ADMIN).update(is_active=False)
    assert browser.get(reverse("admin:index")).status_code == 302
    assert browser.get("/api/v1/profiles").status_code in (401, 403)


def test_the_platforms_models_stand_on_no_brands_site(client):
    assert not {Brand, Domain} & set(REGISTERED)
    assert {Brand, Domain} <= set(platform_site._registry)
    browser = client(Role.PLATFORM_ADMIN)
    for path in ("/tenants/brand/", "/tenants/domain/", "/tenants/brand/add/"):
        assert browser.get(path).status_code == 404


def test_a_brand_gives_nobody_the_platforms_role(client):
    browser = client(Role.BRAND_ADMIN)
    page = reverse("admin:network_staff_add")
    form = {"full_name": "Mallory", "email": "m@acme.example", "role": Role.PLATFORM_ADMIN, "language": "en"}
    assert browser.post(page, form).status_code == 200
    assert not Staff.objects.filter(full_name="Mallory").exists()
