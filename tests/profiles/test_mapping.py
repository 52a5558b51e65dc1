"""Which column is what: headers as tills, shops and back offices write them, and what their values have to say."""

# ruff: noqa: E501, ISC004 - a table reads best with an entry in a line

import random
from collections import Counter

import pytest

from profiles.imports.mapping import CONSENTS, FIELDS, IGNORE, SYNONYMS, Guess, guess
from profiles.imports.values import unknown_answers

E, C, F, L, N = "external_id", "customer_id", "first_name", "last_name", "full_name"
B, M, P, S, Z, V = "birth_date", "email", "phone", "street", "postcode", "city"
K, ST, AT = "card", "store_code", "stated_at"
CE, CS, CP, CA, CW = "consent_email", "consent_sms", "consent_post", "consent_at", "consent_wording"
I = IGNORE  # noqa: E741 - the letter of its word, in the tables below


def guesses(header: str, *rows: str) -> dict[str, Guess]:
    delimiter = "," if header.count(",") > header.count(";") else ";"
    return guess(header.split(delimiter), [row.split(delimiter) for row in rows])


# Where the file comes from, its header, some rows, and what each column is.
FILES = [
    (
        "a till of the nineties",
        "CODE_CLI;CIV;NOM_CLI;PRENOM_CLI;ADR1;ADR2;CP;VILLE;TEL_FIXE;TEL_PORT;MAIL;DT_NAISS;NUM_CARTE_FID;CUMUL_PTS;OPTIN_MAIL;"
        "OPTIN_SMS;DT_CREAT;MAG_CREAT",
        ["000123;MME;DURAND;JULIE;12 RUE PASTEUR;;59000;LILLE;0320123456;0612345678;j.durand@orange.fr;03/04/85;2990001234567;120;O;N;"
         "01/02/2019;M012"],
        [E, I, L, F, S, I, Z, V, I, P, M, B, K, I, CE, CS, AT, ST],
    ),
    (
        "a back office of a chain",
        "Code tiers;Raison sociale;Prénom;Adresse 1;Code postal;Ville;Téléphone;Portable;E-mail;Date de naissance;Code carte;"
        "Établissement;Date création",
        ["T0001;MARTIN;Alice;3 rue Foch;75011;Paris;0143123456;0712345678;alice.m@free.fr;01/05/1990;FID00012345;E01;03/02/2024"],
        [E, L, F, S, Z, V, I, P, M, B, K, ST, AT],
    ),
    (
        "a loyalty programme",
        "N° Client;N° de carte de fidélité;Civilité;Nom;Prénom;Né(e) le;Courriel;Tél. portable;Tél. domicile;Code postal;Commune;"
        "Magasin de rattachement;Accord courriel;Accord SMS;Accord courrier;Date accord;Libellé accord;Client depuis",
        ["C1;2990000000012;Mme;Noël;Zoé;3 avril 1985;zoe@free.fr;06 12 34 56 78;03 20 12 34 56;59100;Roubaix;MAG-001;Oui;Non;;"
         "03/02/2024;J'accepte;3 février 2019"],
        [E, K, I, L, F, B, M, P, I, Z, V, ST, CE, CS, CP, CA, CW, AT],
    ),
    (
        "Shopify",
        "Customer ID,First Name,Last Name,Email,Accepts Email Marketing,Default Address Company,Default Address Address1,"
        "Default Address Address2,Default Address City,Default Address Province Code,Default Address Country Code,"
        "Default Address Zip,Default Address Phone,Phone,Accepts SMS Marketing,Total Spent,Total Orders,Note,Tax Exempt,Tags",
        ["'6543210987654,Julie,Durand,julie@gmail.com,yes,,12 rue Pasteur,,Lille,,FR,'59000,0320123456,+33612345678,no,125.50,3,,no,vip"],
        [E, F, L, M, CE, I, S, I, V, I, I, Z, I, P, CS, I, I, I, I, I],
    ),
    (
        "WooCommerce customers",
        "customer_id,user_email,first_name,last_name,date_registered,billing_first_name,billing_last_name,billing_address_1,"
        "billing_city,billing_postcode,billing_country,billing_email,billing_phone,total_spent",
        ["42,julie@gmail.com,Julie,Durand,2024-03-01 10:11:12,Julie,Durand,12 rue Pasteur,Lille,59000,FR,julie@gmail.com,0612345678,125.50"],
        [E, M, F, L, AT, I, I, S, V, Z, I, I, P, I],
    ),
    (
        "WooCommerce analytics",
        "Name,Username,Last Active,Date Registered,Email,Orders,Total Spend,AOV,Country / Region,City,Region,Postal Code",
        ["Julie Durand,julie,2024-05-01 10:00:00,2024-03-01 10:11:12,julie@gmail.com,3,125.50,41.83,FR,Lille,,59000"],
        [N, I, I, AT, M, I, I, I, I, V, I, Z],
    ),
    (
        "Mailchimp",
        "Email Address,First Name,Last Name,Address,Phone Number,Birthday,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,"
        "LATITUDE,LONGITUDE,LAST_CHANGED,LEID,EUID,NOTES,TAGS",
        ["julie@gmail.com,Julie,Durand,,0612345678,,2,2024-03-01 10:11:12,,2024-03-01 10:11:12,90.1.2.3,48.85,2.35,2024-04-01 08:00:00,"
         "123456789,abcdef0123,,"],
        [M, F, L, S, P, B, I, CA, I, I, I, I, I, AT, E, I, I, I],
    ),
    (
        "Brevo in French",
        "CONTACT ID;EMAIL;PRENOM;NOM;SMS;WHATSAPP;OPT_IN;DOUBLE_OPT-IN;ADDED_TIME;MODIFIED_TIME;EMAIL_BLACKLISTED",
        ["12;julie@gmail.com;Julie;Durand;33612345678;;1;1;01-03-2024 10:11:12;02-04-2024 08:00:00;0"],
        [E, M, F, L, P, I, CE, I, AT, I, I],
    ),
    (
        "Brevo in English",
        "CONTACT ID,EMAIL,FIRSTNAME,LASTNAME,SMS,ADDED_TIME,MODIFIED_TIME",
        ["12,julie@gmail.com,Julie,Durand,33612345678,01-03-2024 10:11:12,02-04-2024 08:00:00"],
        [E, M, F, L, P, AT, I],
    ),
    (
        "a contest",
        "id_participation;prenom;nom;courriel;date_naissance;ville;code_magasin;accord_courriel;texte_accord;date_participation",
        ["P1;Julie;Durand;julie@free.fr;1985-04-03;Lille;M01;oui;J'accepte;2024-03-01"],
        [E, F, L, M, B, V, ST, CE, CW, AT],
    ),
    (
        "an English back office",
        "Customer number;Title;Surname;Forename;DOB;E-mail address;Mobile phone;Address line 1;Town;Postcode;Loyalty card number;"
        "Home store;Email consent;SMS consent;Consent date;Consent wording;Signup date",
        ["7;Mrs;Smith;Ann;03/04/1985;ann@free.fr;+33612345678;12 rue Foch;Lille;59000;2990000000012;S01;Y;N;03/02/2024;I accept;03/02/2024"],
        [E, I, L, F, B, M, P, S, V, Z, K, ST, CE, CS, CA, CW, AT],
    ),
    (
        "two telephones and no value",
        "Identifiant;Nom;Prénom;Tél. fixe;Portable",
        [],
        [E, L, F, I, P],
    ),
    (
        "a national file beside the store's own number",
        "Identifiant unique;Numéro client;Nom complet;Adresse e-mail;Newsletter;Date optin;Date de dernier achat;CA TTC",
        ["9f1;0042;MARTIN Alice;a.m@free.fr;Inscrit;01/02/2024;03/03/2024;1 234,50 €"],
        [E, C, N, M, CE, CA, I, I],
    ),
    (
        "abbreviations and camel case",
        "idClient;nomClient;prenomClient;dateNaissance;adrMail;telMobile;codePostal;dtInscr;optinSms",
        ["1;Durand;Julie;03/04/1985;j@free.fr;0612345678;59000;01/02/2024;0"],
        [E, L, F, B, M, P, Z, AT, CS],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "rows", "fields"), [file[1:] for file in FILES], ids=[f[0] for f in FILES]
)
def test_headers_as_they_come(header, rows, fields):
    found = guesses(header, *rows)
    assert {column: guess.field for column, guess in found.items()} == dict(zip(found, fields, strict=True))


def test_every_field_is_guessed_from_one_of_these_files():
    assert {field for file in FILES for field in file[3]} == {*FIELDS, IGNORE}


def test_no_name_is_written_twice_for_a_field_and_all_are_plain():
    for field, names in SYNONYMS.items():
        assert [name for name, times in Counter(names).items() if times > 1] == [], field


# --- Single headers ------------------------------------------------------------------------------------------------


def fields_of(header, *sample_rows):
    return [
        guess.field for guess in guess(header.split(";"), [row.split(";") for row in sample_rows]).values()
    ]


def test_french_headers():
    assert (
        fields_of(
            "Identifiant;Civilité;Nom;Prénom;Date de naissance;E-mail;Téléphone mobile;Adresse;Code postal;Ville;"
            "N° carte de fidélité;Magasin d'inscription;Date d'inscription;Accord e-mail;Accord SMS;Date de l'accord;"
            "Texte de l'accord"
        )
        == (
            "external_id ignore last_name first_name birth_date email phone street postcode city card store_code"
            " stated_at consent_email consent_sms consent_at consent_wording"
        ).split()
    )


def test_headers_of_a_till():
    assert (
        fields_of(
            "NO_CLIENT;NO_CARTE;NOM;PRENOM;TEL;CP;MAGASIN;DATE_CREATION;OPTIN_SMS;DATE_OPTIN_SMS;TEXTE_OPTIN",
            "ACM001-00001;2990000000012;DUPONT;MARIE;0612345678;59000;ACM-001;03/02/2024;O;03/02/2024;J'accepte",
        )
        == (
            "external_id card last_name first_name phone postcode store_code stated_at consent_sms consent_at"
            " consent_wording"
        ).split()
    )


def test_english_headers():
    assert (
        fields_of(
            "customer_id;email;first_name;last_name;birthdate;phone;address;zipcode;city;country;loyalty_card;newsletter;"
            "newsletter_at;newsletter_text;created_at"
        )
        == (
            "external_id email first_name last_name birth_date phone street postcode city ignore card consent_email"
            " consent_at consent_wording stated_at"
        ).split()
    )


def test_headers_of_a_contest():
    assert (
        fields_of(
            "id_participation;prenom;nom;courriel;date_naissance;ville;code_magasin;accord_courriel;texte_accord;"
            "date_participation"
        )
        == (
            "external_id first_name last_name email birth_date city store_code consent_email consent_wording stated_at"
        ).split()
    )


def test_camel_case_and_slips_of_the_pen():
    assert fields_of("customerId;firstName;lastName;Code postale;Télephone") == [
        "external_id", "first_name", "last_name", "postcode", "phone",
    ]  # fmt: skip


def test_values_speak_where_the_header_is_silent_or_lies():
    assert fields_of("a;b;c", "x1;alice@acme.example;06 12 34 56 78") == ["ignore", "email", "phone"]
    assert fields_of("Id;Mail", "1;oui", "2;non")[1] != "email"


def test_a_customer_number_beside_an_id_finds_people_elsewhere():
    assert fields_of("Identifiant;Numéro client;Nom") == ["external_id", "customer_id", "last_name"]
    assert fields_of("Numéro client;Nom") == ["external_id", "last_name"]


# --- The values agree, doubt or contradict ------------------------------------------------------------------------


def test_fitting_values_raise_the_confidence_and_others_lower_it():
    alone = guesses("id;Tél")["Tél"].confidence
    assert guesses("id;Tél", "1;06 12 34 56 78")["Tél"].confidence > alone
    doubtful = guesses("id;Tél", "1;06 12 34 56 78", "2;12", "3;14")["Tél"]
    assert doubtful.field == P
    assert doubtful.confidence < alone


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("Adresse", ["alice@free.fr", "bruno@free.fr"]),
        ("Mail", ["oui", "non"]),
        ("Téléphone", ["oui", "non"]),
        ("SMS", ["oui", "non"]),
        ("Date de création", ["Lille", "Arras"]),
        ("Opt-in e-mail", ["alice@free.fr", "bruno@free.fr"]),
        ("Opt-in SMS", ["0612345678", "0712345678"]),
        ("Carte", ["12,50", "13,90"]),
        ("Carte", ["Visa", "Mastercard"]),
        ("Date de naissance", ["oui", "non"]),
        ("Ville", ["59000", "75011"]),
        ("Prénom", ["12", "14"]),
        ("Identifiant", ["MAG", "MAG", "MAG"]),
    ],
)
def test_a_name_that_its_values_contradict_is_not_believed(column, values):
    named = guess([column], [])[column].field
    assert named != IGNORE
    assert guess([column], [[value] for value in values])[column].field != named


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (["alice@free.fr", "bruno@free.fr"], M),
        (["06 12 34 56 78", "+33 7 12 34 56 78"], P),
        (["12 rue Pasteur", "3 bis av. Foch"], S),
        (["03/04/1985", "12/11/1972", "1990-05-01"], B),
        (["2990000000012", "2990000000029", "2990000000036"], K),
        (["59000", "75011", "2A004"], Z),
        (["LILLE", "Paris 11e", "Saint-Omer"], V),
        (["MARTIN Alice", "Bruno CARON"], N),
        ([f"MAG-{number % 4:03d}" for number in range(40)], ST),
        # Neither a registration taken for a birth, nor money for a number, nor answers for a consent.
        (["03/04/2024", "12/11/2025"], I),
        (["12,50", "1 234,90 €"], I),
        (["oui", "non", "oui"], I),
        (["rouge", "bleu"], I),
        (["1", "2", "3"], I),
    ],
)
def test_values_speak_where_the_header_says_nothing(values, field):
    assert guess(["zzz"], [[value] for value in values])["zzz"].field == field


def test_cards_are_told_by_what_they_share_and_that_none_comes_twice():
    draw = random.Random(1)
    cards = [f"299{draw.randrange(10**10):010d}" for _ in range(30)]
    assert guess(["x"], [[card] for card in cards])["x"].field == K
    assert guess(["x"], [[cards[0]] for _ in range(30)])["x"].field == I


def test_of_two_numbers_the_mobile_wins_and_the_other_is_offered():
    found = guesses("id;Téléphone;Tél", "1;0320123456;0612345678", "2;0321123456;0712345678")
    assert (found["Tél"].field, found["Téléphone"].field) == (P, I)
    assert found["Téléphone"].others == (P,)
    by_name = guesses("id;Tél. fixe;Portable", "1;0320123456;0612345678")
    assert (by_name["Portable"].field, by_name["Tél. fixe"].others) == (P, (P,))
    assert guesses("id;Tél. fixe", "1;0320123456")["Tél. fixe"].field == P


def test_a_name_in_two_parts_in_one_column_is_a_whole_name():
    assert guesses("id;Nom", "1;MARTIN Alice", "2;CARON Bruno")["Nom"].field == N
    assert guesses("id;Nom;Prénom", "1;DE LA TOUR;Alice")["Nom"].field == L
    assert guesses("id;Nom", "1;Martin", "2;Caron")["Nom"].field == L


def test_what_blocks_is_no_consent():
    for column in (
        "EMAIL_BLACKLISTED", "SMS_BLACKLISTED", "Blocklisted", "Opt-out", "Opt-out newsletter", "Désinscrit newsletter",
        "Refus e-mail", "Ne pas contacter par SMS", "STOP SMS", "Unsubscribed",
    ):  # fmt: skip
        assert guess([column], [["1"], ["0"]])[column].field not in CONSENTS


# --- Words that say neither yes nor no ----------------------------------------------------------------------------


def test_words_that_say_neither_are_counted_by_column():
    rows = [
        {"Opt-in e-mail": word, "Opt-in SMS": other}
        for word, other in [
            ("Opt-in actif", "oui"), ("Désinscrit", "non"), ("Jamais", ""), ("Jamais", "à voir"), ("oui", "N"),
        ]
    ]  # fmt: skip
    assert unknown_answers(rows) == {
        "Opt-in e-mail": Counter({"Jamais": 2}), "Opt-in SMS": Counter({"à voir": 1}),
    }  # fmt: skip
    assert unknown_answers(rows, ["Opt-in SMS"]) == {"Opt-in SMS": Counter({"à voir": 1})}
    assert unknown_answers([]) == {}


def test_a_column_of_anything_does_not_fill_the_memory():
    found = unknown_answers({"note": f"mot {number}"} for number in range(10_000))
    assert len(found["note"]) == 200


def test_few_odd_words_make_a_column_called_a_consent_one_and_anything_else_does_not():
    words = ["ouais", "bof", "oui", "non", "oui", "ouais"]
    assert guess(["Newsletter"], [[word] for word in words])["Newsletter"].field == CE
    for others in (
        ["03/02/2024", "04/02/2024"], ["a@b.fr", "c@d.fr"], ["12,50", "3,20"], ["4711", "4712"],
        ["hebdo", "mensuel", "jamais vu", "jeudi"],
    ):  # fmt: skip
        assert guess(["Newsletter"], [[word] for word in others])["Newsletter"].field != CE, others
