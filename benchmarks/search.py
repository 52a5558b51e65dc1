"""How fast a person is found among a million: `python -m benchmarks.search [profiles]`.

A scratch brand is filled by SQL with invented people (names and towns as unevenly spread as real ones), asked the way
the screens ask — a page of 50 in the list's own order, and its count — and dropped again. What the index costs those
who write is measured too.
"""

import os
import random
import statistics
import sys
import time
from collections.abc import Callable

LIMIT_MS = 100.0
BRAND = "benchsearch"
STORES = 200
# The biggest store is known by as many people as a department store's.
IN_BIG_STORE = 0.02
ROUNDS = 3
WRITTEN_AT_ONCE = 2000

FIRST_NAMES = """
marie jean pierre michel philippe nathalie isabelle alain sylvie catherine patrick martine nicolas christophe sophie
laurent thomas julie christine stephane valerie anne sandrine camille lea emma lucas hugo louis gabriel jules chloe
manon ines jade alice arthur paul antoine alexandre maxime julien sebastien david olivier eric pascal thierry frederic
veronique brigitte monique jacqueline francoise nicole helene sarah laura pauline marion mathilde lucie clara charlotte
celine aurelie emilie elodie virginie karine delphine stephanie caroline audrey melanie vincent guillaume romain
benoit francois bernard andre jacques daniel serge gerard claude didier bruno franck fabrice yves dominique leo nathan
enzo theo mohamed karim fatima samira nadia leila mehdi yanis rayan lina sofia noemie margaux oceane agathe rose anna
zoe eva romane juliette gaspard victor adam raphael ethan noah tom mathis clement axel baptiste simon etienne
""".split()
SURNAMES = """
martin bernard thomas petit robert richard durand dubois moreau laurent simon michel lefebvre leroy roux david bertrand
morel fournier girard bonnet dupont lambert fontaine rousseau vincent muller lefevre faure andre mercier blanc guerin
boyer garnier chevalier francois legrand gauthier garcia perrin robin clement morin nicolas henry roussel mathieu
gautier masson marchand duval denis dumont marie lemaire noel meyer dufour meunier brun blanchard giraud joly riviere
lucas brunet gaillard barbier arnaud martinez gerard roche renard schmitt roy leroux colin vidal caron picard roger
fabre aubert lemoine renaud dumas lacroix olivier philippe bourgeois pierre benoit rey leclerc payet rolland leclercq
guillaume lecomte lopez jean dupuy guillot hubert berger carpentier sanchez dupuis moulin louis deschamps huet vasseur
perez boucher fleury royer klein jacquet adam paris poirier marty aubry guyot carre charles renault charpentier menard
maillard baron bertin bailly herve schneider fernandez collet leger bouvier julien prevost millet perrot daniel
""".split()
BEGINNINGS = (
    "bel mar du char vil gran mon ros lau per gir cou val bou cas des fal ger hau jou ker lan mes nor".split()
)
MIDDLES = "be che du fo gua la li mi nai o pi que ra ri ro sa te ti va vi".split()
ENDINGS = "rd lle nt t r s x n ud lt c au ier on ot ac et in as ois oux y el ard eau".split()
TOWNS = """
paris marseille lyon toulouse nice nantes montpellier strasbourg bordeaux lille rennes reims toulon havre grenoble
dijon angers nimes villeurbanne saint_denis aix clermont_ferrand brest tours amiens limoges annecy perpignan metz
besancon orleans rouen mulhouse caen nancy saint_etienne argenteuil montreuil roubaix tourcoing avignon poitiers
versailles creteil pau calais cannes antibes ajaccio saint_nazaire colmar bourges quimper valence merignac troyes
chambery niort lorient sarcelles pessac belfort cholet saint_quentin saint_malo vannes arles bayonne laval albi evreux
""".split()


def _surnames() -> list[str]:
    made = (b + m + e for b in BEGINNINGS for m in MIDDLES for e in ENDINGS)
    chance = random.Random(7)
    rare = sorted(set(made) - set(SURNAMES))
    chance.shuffle(rare)
    return SURNAMES + rare[:6000]


FILL = [
    # Popularity falls as names go on: a power of an even draw.
    """
    insert into profiles_profile (public_id, first_name, last_name, birth_date, email, phone, street, postcode, city,
        provenance, search_text, merged_into_id, created_at)
    select gen_random_uuid(), initcap(f), initcap(l), date '1940-01-01' + (random() * 24000)::int,
        case when has_mail then mail else '' end, case when has_phone then phone else '' end, '',
        postcode, initcap(replace(town, '_', ' ')), '{}',
        concat_ws(' ', f, l, case when has_mail then mail end,
            case when has_phone then '#' || substr(phone, 4) || ' ~' || reverse(substr(phone, 2)) end,
            case when has_card then '299' || lpad((7000000000 + n)::text, 10, '0') end,
            postcode, replace(town, '_', ' ')),
        null, now() - random() * interval '1500 days'
    from (
        select n, f, l, town, lpad((1000 + (random() * 94000)::int)::text, 5, '0') postcode,
            f || '.' || l || n || '@' || (array['gmail.com','orange.fr','free.fr','hotmail.fr'])[1 + mod(n, 4)] mail,
            '+33' || (array['6','7','1','4'])[1 + (random() * 3)::int] || lpad((random() * 99999999)::int::text, 8, '0')
                phone,
            random() < 0.7 has_mail, random() < 0.85 has_phone, random() < 0.6 has_card
        from (
            select n, (%(first)s::text[])[1 + floor(power(random(), 1.5) * %(firsts)s)::int] f,
                (%(last)s::text[])[1 + floor(power(random(), 2) * %(lasts)s)::int] l,
                (%(town)s::text[])[1 + floor(power(random(), 2) * %(towns)s)::int] town
            from generate_series(1, %(profiles)s) n
        ) drawn
    ) person
    """,
    """
    insert into profiles_profilefacts (profile_id, last_purchase_on, purchases, spend_cents, email_allowed, sms_allowed,
        post_allowed)
    select id, case when random() < 0.85 then current_date - (power(random(), 2) * 1200)::int end, 0, 0,
        random() < 0.5, random() < 0.3, false
    from profiles_profile
    """,
    """
    insert into profiles_profilestore (profile_id, store_id, since)
    select id, (select min(id) from network_store) + (random() * %(stores)s)::int, created_at from profiles_profile
    on conflict do nothing
    """,
    """
    insert into profiles_profilestore (profile_id, store_id, since)
    select id, (select min(id) from network_store), created_at from profiles_profile where random() < %(big)s
    on conflict do nothing
    """,
    """
    insert into profiles_purchase (store_id, till_id, business_day, receipt_id, bought_at, received_at, profile_id,
        identified_by, total_cents, payment, content_hash)
    select store_id, (select min(id) from network_till), current_date - (random() * 900)::int, 'R' || id || '-' || t,
        now(), now(), profile_id, '', 1000, '', ''
    from profiles_profilestore, generate_series(1, 2) t
    where store_id = (select min(id) from network_store)
    """,
]


def measure(profiles: int = 1_000_000) -> dict:
    """Milliseconds at p50 and p95 for each screen that searches, over a realistic mix; seconds to build the index;
    what a written person costs with the index and without it. The scratch brand is gone afterwards."""
    from django.db import connection

    from benchmarks.brand import scratch_brand

    with scratch_brand(BRAND):
        told = {"profiles": profiles, "limit_ms": LIMIT_MS, "build": _fill(profiles)}
        queries = _queries()
        told["screens"] = {name: _timed(ask, queries) for name, ask in _screens().items()}
        told["lists"] = {name: _timed(ask, {"everybody": [""] * 5}) for name, ask in _screens().items()}
        told["writes"] = _writes()
        with connection.cursor() as cursor:
            cursor.execute(
                "select pg_relation_size('profile_search'), pg_total_relation_size('profiles_profile')"
            )
            told["index_bytes"], told["table_bytes"] = cursor.fetchone()
    told["p95_ms"] = max(screen["p95_ms"] for screen in told["screens"].values())
    return told


def _fill(profiles: int) -> dict:
    from django.db import connection

    from profiles.models import Profile
    from tenants.network.models import Region, Store, Till

    region = Region.objects.create(code="r", name="R")
    stores = Store.objects.bulk_create(
        Store(code=f"S-{n}", name=f"Store {n}", region=region) for n in range(STORES + 1)
    )
    Till.objects.create(store=stores[0], code="T1")
    lasts = _surnames()
    drawn = {
        "first": FIRST_NAMES, "firsts": len(FIRST_NAMES), "last": lasts, "lasts": len(lasts), "town": TOWNS,
        "towns": len(TOWNS), "profiles": profiles, "stores": STORES, "big": IN_BIG_STORE,
    }  # fmt: skip
    (index,) = [index for index in Profile._meta.indexes if index.name == "profile_search"]
    with connection.schema_editor() as editor:
        editor.remove_index(Profile, index)
    started = time.perf_counter()
    with connection.cursor() as cursor:
        for statement in FILL:
            cursor.execute(statement, drawn)
    filled = time.perf_counter()
    with connection.schema_editor() as editor:
        editor.add_index(Profile, index)
    indexed = time.perf_counter()
    with connection.cursor() as cursor:
        for table in ("profile", "profilefacts", "profilestore", "purchase"):
            cursor.execute(f"vacuum analyze profiles_{table}")
    return {"fill_s": round(filled - started, 1), "index_s": round(indexed - filled, 1)}


# --- What people type ------------------------------------------------------------------------------------------------


def _queries() -> dict[str, list[str]]:
    """Searches of each kind, made from people who exist."""
    from profiles.models import Profile

    chance = random.Random(11)
    last = Profile.objects.order_by("-pk").values_list("pk", flat=True)[0]
    people = list(Profile.objects.filter(pk__in=[chance.randint(1, last) for _ in range(60)]))
    names = [(p.first_name, p.last_name) for p in people]
    phones = [p.phone for p in people if p.phone][:20]
    national = ["0" + phone[3:] for phone in phones]
    mails = [p.email for p in people if p.email][:20]
    cards = [w for p in people for w in p.search_text.split() if w.startswith("299") and len(w) == 13][:20]
    return {
        "first and last name": [f"{f} {n}" for f, n in names[:20]],
        "last name, first name": [f"{n.upper()} {f}" for f, n in names[20:40]],
        "beginnings of both": [f"{n[:3]} {f[:3]}" for f, n in names[:20]],
        "a rare last name": [n for _f, n in names if n.lower() not in SURNAMES][:20],
        "a common last name": ["Martin", "bernard", "PETIT", "Dubois", "thomas"],
        "a common first name": ["Marie", "jean", "Pierre", "Nathalie"],
        "a common pair": ["marie martin", "Jean Petit", "martin bernard", "pierre thomas"],
        "a name and a town": [f"{n} {p.city}" for p, (_f, n) in zip(people, names, strict=True)][:20],
        "a town": ["St Etienne", "Saint-Étienne", "paris", "LYON", "Clermont-Ferrand"],
        "two letters, three letters": ["ma", "ber", "du", "pet", "lef", "x"],
        "phone": [*national[:5], *phones[5:10], *("0033" + p[3:] for p in phones[10:15]),
                  *(" ".join(n[i : i + 2] for i in range(0, 10, 2)) for n in national[15:])],
        "end of a phone": [phone[-4:] for phone in phones[:10]] + [phone[-6:] for phone in phones[10:]],
        "e-mail": mails[:10],
        "beginning of an e-mail": [mail.partition("@")[0][:-2] for mail in mails[10:]],
        "card": cards,
        "nobody": ["zzyzx", "marie qwertzuiop", "0699999999 martin"],
    }  # fmt: skip


def _screens() -> dict[str, Callable[[str], object]]:
    from django.contrib import admin
    from django.core.paginator import Paginator
    from django.test import RequestFactory

    from cdp.store_area import people
    from profiles import search
    from profiles.models import Profile
    from tenants.network.models import Store
    from tenants.scoping import Scope, scoped_to

    head_office = admin.site.get_model_admin(Profile)
    stores = list(Store.objects.order_by("pk")[:2].values_list("pk", flat=True))

    def admin_list(text: str):
        request = RequestFactory().get("/", {"q": text} if text else {})
        asked = head_office.get_queryset(request).filter(merged_into=None)
        asked, _twice = head_office.get_search_results(request, asked, text)
        pages = head_office.get_paginator(request, asked.order_by(*head_office.get_ordering(request)), 50)
        return pages.count, list(pages.page(1))

    def within(store: int, ask: Callable[[str], object]) -> Callable[[str], object]:
        def asked(text: str):
            with scoped_to(Scope.of([store])):
                return ask(text)

        return asked

    def store_list(text: str):
        found = people.customers(text)
        return found.count(), list(found[:25])

    def api(text: str):
        pages = Paginator(search.narrowed(Profile.objects.order_by("-id"), text), 50)
        return pages.count, list(pages.page(1))

    return {
        "head office": admin_list,
        "big store's manager in head office's list": within(stores[0], admin_list),
        "store area, a big store": within(stores[0], store_list),
        "store area, a usual store": within(stores[1], store_list),
        "API": api,
    }


def _timed(ask: Callable[[str], object], queries: dict[str, list[str]]) -> dict:
    taken: list[float] = []
    slowest: dict[str, tuple[float, str]] = {}
    for kind, texts in queries.items():
        for text in texts:
            times = []
            for _round in range(ROUNDS):
                started = time.perf_counter()
                ask(text)
                times.append(1000 * (time.perf_counter() - started))
            taken += times
            slowest[kind] = max(slowest.get(kind, (0.0, "")), (statistics.median(times), text))
    return {
        "p50_ms": round(statistics.median(taken), 1),
        "p95_ms": round(statistics.quantiles(taken, n=20)[18], 1),
        "max_ms": round(max(taken), 1),
        "slowest_ms": {kind: [round(ms, 1), text] for kind, (ms, text) in slowest.items()},
    }


# --- What it costs to write ------------------------------------------------------------------------------------------


def _writes() -> dict:
    """Microseconds a person, for new people and for people whose words change, with the index and without."""
    from django.db import connection, transaction

    from profiles.models import Profile

    (index,) = [index for index in Profile._meta.indexes if index.name == "profile_search"]
    told = {}

    def new_people():
        Profile.objects.bulk_create(
            Profile(
                first_name="Nina",
                last_name=f"Neuve{n}",
                search_text=f"nina neuve{n} n{n}@mail.example #6{n} ~{n}6",
            )
            for n in range(WRITTEN_AT_ONCE)
        )

    def changed_words():
        people = list(Profile.objects.order_by("pk")[:WRITTEN_AT_ONCE])
        for person in people:
            person.search_text += " changed"
        Profile.objects.bulk_update(people, ["search_text"])

    for with_index in (True, False):
        if not with_index:
            with connection.schema_editor() as editor:
                editor.remove_index(Profile, index)
        for name, write in (("new", new_people), ("changed", changed_words)):
            times = []
            for _round in range(5):
                with transaction.atomic():
                    started = time.perf_counter()
                    write()
                    times.append(time.perf_counter() - started)
                    transaction.set_rollback(True)
            label = f"{name}, {'with' if with_index else 'without'} the index, µs a person"
            told[label] = round(1e6 * statistics.median(times) / WRITTEN_AT_ONCE)
    with connection.schema_editor() as editor:
        editor.add_index(Profile, index)
    return told


def show(told: dict) -> None:
    """Print the figures as a table."""
    print(f"{told['profiles']:,} profiles, filled in {told['build']['fill_s']} s; index {told['build']['index_s']} s,"
          f" {told['index_bytes'] / 1e6:,.0f} MB")  # fmt: skip
    print(f"{'screen':55} {'p50':>8} {'p95':>8} {'max':>8}  ms (limit {told['limit_ms']:.0f} at p95)")
    for group in ("screens", "lists"):
        for name, screen in told[group].items():
            label = name if group == "screens" else f"{name}: no search"
            print(f"{label:55} {screen['p50_ms']:8.1f} {screen['p95_ms']:8.1f} {screen['max_ms']:8.1f}")
    for name, screen in told["screens"].items():
        print(f"\n{name}, slowest of each kind")
        for kind, (ms, text) in screen["slowest_ms"].items():
            print(f"  {kind:30} {ms:8.1f}  {text}")
    print()
    for name, cost in told["writes"].items():
        print(f"{name:55} {cost:6}")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    import django

    django.setup()
    figures = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    show(figures)
    sys.exit(0 if figures["p95_ms"] <= LIMIT_MS else 1)
