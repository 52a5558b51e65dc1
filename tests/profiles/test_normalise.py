"""What somebody typed, and the form in which it is compared."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import normalise

TODAY = date(2026, 11, 20)

RAW = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="0123456789+.-/ ()", max_size=25),
    st.text(alphabet="abcdeéèïœ'’- @.+ABCDÉ", max_size=40),
)


@pytest.mark.parametrize(
    ("raw", "address", "key"),
    [
        (" Jean.Dupont@Orange.FR ", "jean.dupont@orange.fr", "jean.dupont@orange.fr"),
        ("jean.dupont+promo@gmail.com", "jean.dupont+promo@gmail.com", "jeandupont@gmail.com"),
        ("JeanDupont@googlemail.com", "jeandupont@googlemail.com", "jeandupont@gmail.com"),
        ("jean+noel@hotmail.fr", "jean+noel@hotmail.fr", "jean@hotmail.fr"),
        ("jean+noel@orange.fr", "jean+noel@orange.fr", "jean+noel@orange.fr"),
        ("<jean@free.fr>", "jean@free.fr", "jean@free.fr"),
        ("mailto:jean@free.fr", "jean@free.fr", "jean@free.fr"),
    ],
)
def test_an_email_is_compared_by_its_mailbox(raw, address, key):
    found = normalise.email(raw)
    assert (found.address, found.key) == (address, key)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "jean",
        "jean@",
        "@free.fr",
        "a@b",
        "jean@free..fr",
        "pasdemail@gmail.com",
        "aaa@orange.fr",
        "x@example.com",
        "nc@nc.fr",
    ],
)
def test_a_placeholder_is_no_email(raw):
    assert normalise.email(raw) is None


@pytest.mark.parametrize(
    ("raw", "suggestion"),
    [
        ("jean@gmial.com", "jean@gmail.com"),
        ("jean@gmail.fr", "jean@gmail.com"),
        ("jean@ornage.fr", "jean@orange.fr"),
        ("jean@gmail.com", None),
        ("jean@dupont-pneus.fr", None),
    ],
)
def test_a_mistyped_domain_is_proposed_and_not_applied(raw, suggestion):
    found = normalise.email(raw)
    assert found.suggestion == suggestion
    assert found.address == raw


@pytest.mark.parametrize(
    "raw",
    [
        "0612345678",
        "612345678",
        "612345678.0",
        "06 12 34 56 78",
        "06.12.34.56.78",
        "06-12-34-56-78",
        "+33612345678",
        "+33 (0)6 12 34 56 78",
        "0033612345678",
        "33612345678",
    ],
)
def test_one_phone_written_in_many_ways_is_one_number(raw):
    assert normalise.phone(raw) == normalise.Phone("+33612345678", personal=True)


@pytest.mark.parametrize(
    ("raw", "region", "e164", "personal"),
    [
        ("01 42 68 53 00", "FR", "+33142685300", False),
        ("0692123456", "FR", "+262692123456", True),
        ("0692123456", "RE", "+262692123456", True),
        ("692123456", "RE", "+262692123456", True),
        ("+33 692 12 34 56", "FR", "+262692123456", True),
        ("0262123456", "RE", "+262262123456", False),
        ("0690301234", "GP", "+590690301234", True),
        ("0696301234", "MQ", "+596696301234", True),
        ("0694201234", "GF", "+594694201234", True),
        ("0639012345", "YT", "+262639012345", True),
        ("0470 12 34 56", "BE", "+32470123456", True),
        ("0612345678", "RE", "+33612345678", True),
    ],
)
def test_a_number_is_read_as_dialled_at_the_store(raw, region, e164, personal):
    assert normalise.phone(raw, region) == normalise.Phone(e164, personal)


@pytest.mark.parametrize(
    "raw", ["", "nc", "0000000000", "0606060606", "0123456789", "0102030405", "0600000000", "123", "9" * 30]
)
def test_a_placeholder_is_no_phone(raw):
    assert normalise.phone(raw) is None


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("DUPONT", "Dupont"),
        ("dupont-martin", "Dupont-Martin"),
        ("DE LA FONTAINE", "de La Fontaine"),
        ("o'neil", "O'Neil"),
        ("N’DIAYE", "N'Diaye"),
        ("D'ORMESSON", "d'Ormesson"),
        ("le gall", "Le Gall"),
        ("McDonald", "McDonald"),
        ("Mme DUPONT", "Dupont"),
        ("LEFÈVRE", "Lefèvre"),
        ("du bois de la roche", "du Bois de La Roche"),
        ("M. DE VILLIERS", "de Villiers"),
        ("Dupont (2)", "Dupont"),
    ],
)
def test_a_last_name_is_shown_as_its_bearer_writes_it(raw, shown):
    assert normalise.last_name(raw) == shown


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("JEAN-PIERRE", "Jean-Pierre"),
        ("anne - marie", "Anne-Marie"),
        ("éric", "Éric"),
        ("J", "J"),
        ("M", "M"),
    ],
)
def test_a_first_name_is_shown_as_its_bearer_writes_it(raw, shown):
    assert normalise.first_name(raw) == shown


@pytest.mark.parametrize(
    "raw", ["", " ", "-", "xxx", "NC", "n/a", "inconnu", "Client test", "123", "sans nom"]
)
def test_a_placeholder_is_no_name(raw):
    assert normalise.last_name(raw) is None
    assert normalise.first_name(raw) is None


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("Jean-Pierre", "jean pierre"),
        ("  ÉLOÏSE ", "eloise"),
        ("Cœur", "coeur"),
        ("O'Neil", "o neil"),
        ("42", ""),
    ],
)
def test_a_name_is_compared_without_case_accents_and_signs(raw, key):
    assert normalise.name_key(raw) == key


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("J-Pierre", "DUPOND"),
        ("Jean Pierre", "Dupond"),
        ("JEAN-PIERRE", "dupond"),
        ("J. Pierre", "Dupond"),
        ("Monsieur Jean-Pierre", "Dupond"),
    ],
)
def test_a_compound_name_written_short_or_in_full_has_one_key(first, last):
    assert normalise.match_key(first, last) == "j pierre dupond"


@pytest.mark.parametrize(
    ("first", "last", "key"),
    [
        ("Pierre", "de La Fontaine", "pierre delafontaine"),
        ("Pierre", "Lafontaine", "pierre lafontaine"),
        ("Jean", "Dupond", "jean dupond"),
        ("", "Dupond", "dupond"),
        ("", "", ""),
    ],
)
def test_a_simple_name_stays_whole_in_its_key(first, last, key):
    assert normalise.match_key(first, last) == key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Renault", "Renaud"),
        ("Dupont", "Dupond"),
        ("Lefèvre", "Lefebvre"),
        ("Gautier", "Gauthier"),
        ("Schmitt", "Schmidt"),
        ("Chevalier", "Chevallier"),
        ("Philippe", "Filipe"),
        ("de La Fontaine", "Lafontaine"),
        ("Marchais", "Marchet"),
    ],
)
def test_surnames_that_sound_alike_share_a_key(one, other):
    assert normalise.phonetic(one) == normalise.phonetic(other)


@pytest.mark.parametrize(
    ("one", "other"), [("Martin", "Bernard"), ("Roux", "Roussel"), ("Petit", "Perrin"), ("Morel", "Moreau")]
)
def test_surnames_that_sound_different_do_not(one, other):
    assert normalise.phonetic(one) != normalise.phonetic(other)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("75001", "75001"),
        ("75 001", "75001"),
        ("6300", "06300"),
        ("6300.0", "06300"),
        ("F-75001", "75001"),
        ("2A004", "20004"),
        ("97400", "97400"),
        ("SW1A 1AA", "SW1A1AA"),
        ("00000", None),
        ("99999", None),
        ("", None),
        ("Paris", None),
    ],
)
def test_postcode(raw, code):
    assert normalise.postcode(raw) == code


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("ST-ETIENNE CEDEX 2", "saint etienne"),
        ("Saint-Étienne", "saint etienne"),
        ("Ste Maxime", "sainte maxime"),
        ("PARIS 15E ARRONDISSEMENT", "paris"),
        ("Paris 1er", "paris"),
        ("Lyon 3", "lyon"),
        ("Boulogne s/ Mer", "boulogne sur mer"),
        ("L'Haÿ-les-Roses", "l hay les roses"),
        ("BP 45 LILLE CEDEX 9", "lille"),
        ("CS 30012 59040 Lille Cedex", "lille"),
        ("", None),
        ("75001", None),
        ("NC", None),
    ],
)
def test_city(raw, key):
    assert normalise.city(raw) == key


@pytest.mark.parametrize(
    ("raw", "number", "name"),
    [
        ("12 bis av. Victor Hugo", "12 bis", "avenue victor hugo"),
        ("12BIS AVENUE VICTOR HUGO", "12 bis", "avenue victor hugo"),
        ("r. de l'Église", None, "rue de l eglise"),
        ("3, imp. des Lilas", "3", "impasse des lilas"),
        ("bd du Gal de Gaulle", None, "boulevard du general de gaulle"),
        ("5 pl St-Pierre", "5", "place saint pierre"),
        ("8 mai 1945", None, "8 mai 1945"),
        ("4 rue du 8 mai 1945", "4", "rue du 8 mai 1945"),
        ("1 rte de Lyon", "1", "route de lyon"),
        ("4 R NOTRE-DAME", "4", "rue notre dame"),
        ("12-14 rue Pasteur", "12", "rue pasteur"),
        ("9 8 mai 1945", "9", "8 mai 1945"),
        ("12 rue Pasteur BP 45", "12", "rue pasteur"),
        ("BP 45", None, "bp 45"),
        ("14 TER, CHS DE LA GDE STE MARIE", "14 ter", "chaussee de la grande sainte marie"),
        ("2 quinquies rue Pasteur", "2 quinquies", "rue pasteur"),
        ("12 mai 1945", None, "12 mai 1945"),
        ("7 Trav. de l’Amal Ronarc'h", "7", "traverse de l amiral ronarc h"),
        ("12 Bis Rue Pasteur", "12 bis", "rue pasteur"),
    ],
)
def test_street_abbreviations_are_spelt_out(raw, number, name):
    assert normalise.street(raw) == normalise.Street(number, name)


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("12BIS", "12 bis"),
        ("12 b", "12 bis"),
        ("n° 12", "12"),
        ("012", "12"),
        ("3 ter", "3 ter"),
        ("0", None),
        ("", None),
    ],
)
def test_street_number(raw, number):
    assert normalise.street_number(raw) == number


@pytest.mark.parametrize(
    "raw",
    [
        "1985-03-12",
        "1985-03-12T00:00:00",
        "1985-03-12 10:30",
        "12/03/1985",
        "12.03.85",
        "12-3-1985",
        "12 03 1985",
        "19850312",
        "12031985",
        "12 mars 1985",
        "12 MARS 85",
        "mardi 12 mars 1985",
        "12-mars-1985",
        "31118",
        "31118.0",
    ],
)
def test_one_birth_date_written_in_many_ways_is_one_day(raw):
    assert normalise.birth_date(raw, TODAY) == date(1985, 3, 12)


def test_two_digits_of_a_year_are_the_last_year_that_has_been():
    assert normalise.birth_date("01/02/26", TODAY) == date(2026, 2, 1)
    assert normalise.birth_date("01/02/27", TODAY) == date(1927, 2, 1)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "nc",
        "1900-01-01",
        "01/01/1900",
        "1970-01-01",
        "2026-11-21",
        "2999-01-01",
        "1899-12-31",
        "31/02/1980",
        "13/13/1980",
        "03/25/1980",
        "30 février 1980",
        "3 brumaire 1980",
        "12345",
        "33333",
        "99999",
        "0000-00-00",
    ],
)
def test_a_placeholder_is_no_birth_date(raw):
    assert normalise.birth_date(raw, TODAY) is None


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("2990 0005-1714 5", "2990000517145"),
        ("ab12-cd", "AB12CD"),
        ("2990000517145.0", "2990000517145"),
        ("2,99E+12", None),
        ("0000000", None),
        ("12", None),
        ("", None),
    ],
)
def test_card(raw, number):
    assert normalise.card(raw) == number


@pytest.mark.parametrize(
    ("raw", "number"), [(" w-123 ", "W-123"), ("123.0", "123"), ("000", None), ("null", None), ("", None)]
)
def test_customer_id(raw, number):
    assert normalise.customer_id(raw) == number


TEXT_TO_TEXT = {
    "first_name": normalise.first_name,
    "last_name": normalise.last_name,
    "name_key": normalise.name_key,
    "postcode": normalise.postcode,
    "city": normalise.city,
    "street_number": normalise.street_number,
    "card": normalise.card,
    "customer_id": normalise.customer_id,
    "email address": lambda raw: (found := normalise.email(raw)) and found.address,
    "phone e164": lambda raw: (found := normalise.phone(raw)) and found.e164,
    "street name": lambda raw: (found := normalise.street(raw)) and found.name,
}


@pytest.mark.parametrize("field", TEXT_TO_TEXT)
@given(raw=RAW)
def test_any_string_is_answered_and_the_answer_stays(field, raw):
    function = TEXT_TO_TEXT[field]
    once = function(raw)
    assert once is None or isinstance(once, str)
    if once:
        assert function(once) == once


@given(raw=RAW)
def test_any_string_may_be_asked_for_a_day_or_a_sound(raw):
    born = normalise.birth_date(raw, TODAY)
    assert born is None or (normalise.OLDEST_BIRTH <= born <= TODAY)
    assert isinstance(normalise.phonetic(raw), str)


@given(born=st.dates(normalise.OLDEST_BIRTH, TODAY))
def test_every_day_but_the_default_ones_survives(born):
    expected = None if born == date(1970, 1, 1) else born
    assert normalise.birth_date(born.isoformat(), TODAY) == expected
    assert normalise.birth_date(born.strftime("%d/%m/%Y"), TODAY) == expected


@given(digits=st.integers(10**7, 10**8 - 1).map(str), mobile=st.sampled_from("67"))
def test_every_french_mobile_is_one_number_however_written(digits, mobile):
    national = mobile + digits
    ways = {normalise.phone(start + national) for start in ("0", "", "+33", "0033", "+33 0")}
    assert len(ways) == 1


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("59000", "59"),
        ("6300", "06"),
        ("20000", "2A"),
        ("20137", "2A"),
        ("20200", "2B"),
        ("2B200", "2B"),
        ("97400", "974"),
        ("97150", "971"),
        ("98800", "988"),
        ("98000", "980"),
        ("96000", None),
        ("97900", None),
        ("1000 AB", None),
        ("SW1A 1AA", None),
        ("", None),
    ],
)
def test_a_french_postcode_names_its_departement(code, place):
    assert normalise.department(code) == place


@pytest.mark.parametrize(
    ("code", "town", "agrees"),
    [
        ("75015", "Paris 15e", True),
        ("42000", "ST ETIENNE", True),
        ("42000", "Lille", False),
        ("59040", "Lille Cedex", True),
        ("20000", "Ajaccio", True),
        ("2A000", "AJACCIO", True),
        ("20200", "Ajaccio", False),
        ("20200", "Bastia", True),
        ("93200", "Saint-Denis", True),
        ("97400", "Saint-Denis", True),
        ("75000", "Saint-Denis", False),
        ("97150", "Saint-Martin", True),
        ("59650", "Villeneuve-d'Ascq", None),
        ("96000", "Villeneuve-d'Ascq", False),
        ("1000 AB", "Amsterdam", None),
        ("59000", "", None),
    ],
)
def test_a_postcode_and_a_town_belong_together_or_not(code, town, agrees):
    assert normalise.postcode_agrees(code, town) is agrees


@pytest.mark.parametrize(
    ("digits", "national"),
    [("33612345678", "612345678"), ("262692", "692"), ("1202", "202"), ("999", ""), ("", "")],
)
def test_a_number_is_known_inside_its_country_by_its_national_digits(digits, national):
    assert normalise.national_digits(digits) == national


# The short ways ------------------------------------------------------------------------------------------------------

USERS = st.from_regex(r"[a-zA-Z0-9]{1,12}([._+-]{1,2}[a-z0-9]{0,8}){0,3}", fullmatch=True)
DOMAINS = st.one_of(
    st.sampled_from(
        [
            "gmail.com",
            "Orange.FR",
            "free.fr",
            "maison-dupont.fr",
            "example.com",
            "a.b.co.uk",
            "x..fr",
            "-a.fr",
        ]
    ),
    st.from_regex(r"[a-z0-9.-]{1,12}\.[a-z]{2,6}", fullmatch=True),
)
PAIRS = st.lists(
    st.tuples(st.integers(0, 99).map("{:02}".format), st.sampled_from(["", " ", ".", "-", " - "])),
    min_size=4,
    max_size=4,
)


@given(user=USERS, domain=DOMAINS, around=st.sampled_from(["", " "]))
def test_the_short_way_to_an_email_leads_where_the_long_one_does(user, domain, around):
    raw = f"{around}{user}@{domain}{around}"
    assert normalise.email(raw) == normalise._any_email(raw)


@given(
    start=st.sampled_from(["0", "+33", "+33 ", "0033 ", "+33 (0)", "+33 0", "33", ""]),
    first=st.integers(1, 9),
    gap=st.sampled_from(["", " ", ".", "-"]),
    pairs=PAIRS,
)
def test_the_short_way_to_a_phone_leads_where_the_long_one_does(start, first, gap, pairs):
    raw = start + str(first) + gap + "".join(pair + sign for pair, sign in pairs)
    assert normalise.phone(raw) == normalise._phone(raw, "FR")


@given(number=st.integers(0, 999_999_999))
def test_the_short_way_takes_no_number_that_the_library_refuses(number):
    for raw in (f"0{number:09}", f"+33{number:09}", f"{number:09}"):
        assert normalise.phone(raw) == normalise._phone(raw, "FR")


@given(
    raw=st.one_of(RAW, st.text(alphabet="abcDEFxX", max_size=8), st.sampled_from(["nc", "NC", "Test", "AAA"]))
)
def test_the_short_way_to_a_name_leads_where_the_long_one_does(raw):
    for particles in (False, True):
        assert normalise._display_name(raw, particles) == normalise._any_name(raw, particles)


@given(
    number=st.one_of(st.integers(0, 99999).map(str), st.just("n°12")),
    suffix=st.sampled_from(["", " bis", " TER", "bis", " b", ",", " bis,", "°"]),
    way=st.one_of(
        RAW,
        st.sampled_from(
            ["rue", "mai 1945", "BIS rue", "av. de l'Été BP 12", "St-Pierre", "r Pasteur", "été", "bât b"]
        ),
    ),
)
def test_the_short_way_to_a_street_leads_where_the_long_one_does(number, suffix, way):
    raw = f"{number}{suffix} {way}"
    assert normalise.street(raw) == normalise._any_street(raw)


@given(raw=st.one_of(RAW, st.integers(0, 99999).map("{:05}".format)))
def test_the_short_way_to_a_postcode_leads_where_the_long_one_does(raw):
    assert normalise.postcode(raw) == normalise._any_postcode(raw)


@given(
    raw=st.one_of(RAW, st.from_regex(r"[a-zA-Z0-9]{4,16}", fullmatch=True), st.integers(0, 10**9).map(str))
)
def test_the_short_way_to_a_card_leads_where_the_long_one_does(raw):
    assert normalise.card(raw) == normalise._any_card(raw)


@given(day=st.integers(0, 40), month=st.integers(0, 15), year=st.integers(0, 9999))
def test_the_short_way_to_a_day_leads_where_the_long_one_does(day, month, year):
    raw = f"{day:02}/{month:02}/{year:04}"
    try:
        slow = normalise._any_day(raw, TODAY)
    except ValueError:
        slow = None
    if slow in normalise._DEFAULT_DATES or (slow and not normalise.OLDEST_BIRTH <= slow <= TODAY):
        slow = None
    assert normalise.birth_date(raw, TODAY) == slow


@given(raw=st.one_of(st.text(max_size=40), st.text(alphabet="éèçàœÆßłıİ aB'’-°²", max_size=20)))
def test_letters_become_plain_the_short_way_as_the_long_one(raw):
    assert normalise.plain(raw) == normalise._decomposed(raw)
    slow = "".join(
        c if c.isalnum() else " " for c in normalise._decomposed(raw.translate(normalise._APOSTROPHES))
    )
    assert normalise.words(raw) == " ".join(slow.split())


@given(raw=st.text(max_size=200))
def test_any_text_may_be_asked_whether_a_postcode_fits(raw):
    assert normalise.postcode_agrees(raw, raw) in (True, False, None)
    assert normalise.match_key(raw, raw) is not None
