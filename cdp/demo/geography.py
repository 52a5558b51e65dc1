"""Where the franchise trades: French towns with their postcodes, by region, and the stores put into them."""

from dataclasses import dataclass
from itertools import count
from random import Random
from typing import NamedTuple

from faker import Faker

METROPOLITAN_TIME = "Europe/Paris"


class Town(NamedTuple):
    """A town, with the postcode of its centre (five digits, as text)."""

    name: str
    postcode: str
    region: str
    timezone: str = METROPOLITAN_TIME


class Address(NamedTuple):
    """A postal address in France: "12, rue Victor Hugo", "59000", "Lille"."""

    street: str
    postcode: str
    town: str


@dataclass(frozen=True, slots=True)
class StoreData:
    """A franchised store; `source_id` is its number in the tickets' source, `tills` its till codes."""

    code: str
    name: str
    region: str
    address: Address
    timezone: str
    tills: tuple[str, ...]
    source_id: int


_TOWNS_BY_REGION = {
    "Nord": (
        "Lille 59000, Amiens 80000, Dunkerque 59140, Arras 62000, Valenciennes 59300, Calais 62100, Roubaix 59100, "
        "Beauvais 60000, Lens 62300, Saint-Quentin 02100, Tourcoing 59200, Boulogne-sur-Mer 62200, Douai 59500, "
        "Compiègne 60200, Cambrai 59400, Béthune 62400, Maubeuge 59600, Abbeville 80100, Soissons 02200, Laon 02000"
    ),
    "Île-de-France": (
        "Versailles 78000, Montreuil 93100, Boulogne-Billancourt 92100, Créteil 94000, Meaux 77100, Nanterre 92000, "
        "Argenteuil 95100, Évry-Courcouronnes 91000, Vincennes 94300, Melun 77000, Cergy 95000, Massy 91300, "
        "Poissy 78300, Saint-Denis 93200, Issy-les-Moulineaux 92130, Pontoise 95300, Rambouillet 78120, "
        "Fontainebleau 77300, Antony 92160, Paris 75011"
    ),
    "Ouest": (
        "Nantes 44000, Rennes 35000, Brest 29200, Angers 49000, Caen 14000, Le Mans 72000, La Rochelle 17000, "
        "Vannes 56000, Quimper 29000, Poitiers 86000, Lorient 56100, Saint-Malo 35400, Laval 53000, Niort 79000, "
        "Saint-Nazaire 44600, Cholet 49300, Saint-Brieuc 22000, La Roche-sur-Yon 85000, Alençon 61000, "
        "Cherbourg-en-Cotentin 50100"
    ),
    "Sud": (
        "Toulouse 31000, Montpellier 34000, Marseille 13001, Nice 06000, Bordeaux 33000, Nîmes 30000, "
        "Perpignan 66000, Avignon 84000, Toulon 83000, Pau 64000, Aix-en-Provence 13100, Bayonne 64100, "
        "Béziers 34500, Albi 81000, Carcassonne 11000, Agen 47000, Montauban 82000, Narbonne 11100, Tarbes 65000, "
        "Cannes 06400"
    ),
    "Est": (
        "Strasbourg 67000, Lyon 69003, Dijon 21000, Nancy 54000, Grenoble 38000, Reims 51100, Metz 57000, "
        "Besançon 25000, Mulhouse 68100, Annecy 74000, Troyes 10000, Colmar 68000, Chambéry 73000, Épinal 88000, "
        "Belfort 90000, Thionville 57100, Haguenau 67500, Châlons-en-Champagne 51000, Mâcon 71000, "
        "Charleville-Mézières 08000"
    ),
}
OVERSEAS = Town("Saint-Denis de La Réunion", "97400", "Outre-mer", "Indian/Reunion")

TOWNS: dict[str, list[Town]] = {
    region: [Town(entry[:-6], entry[-5:], region) for entry in listed.split(", ")]
    for region, listed in _TOWNS_BY_REGION.items()
}
# Region after region, so that even the first few stores stand in several of them, the North first.
_STREETWISE: list[Town] = [town for towns in zip(*TOWNS.values(), strict=True) for town in towns]
# A town's second and later stores are told apart by their place in it.
_PLACES = ("", " Gare", " Les Halles", " République", " Zone Est")


def open_stores(
    source_ids: list[int], *, prefix: str, brand: str, skip: int, overseas: bool, fake: Faker, chance: Random
) -> list[StoreData]:
    """One store for each source id, coded `PREFIX-001` onwards.

    `skip` towns are left to others; with `overseas` the last store stands in La Réunion, in its own time zone.
    Holds for as many stores as there are towns and places, 500 a brand.
    """
    stores = []
    for number, source_id, place in zip(count(1), source_ids, count(skip), strict=False):
        town = _STREETWISE[place % len(_STREETWISE)]
        suffix = _PLACES[(place // len(_STREETWISE)) % len(_PLACES)]
        if overseas and number == len(source_ids):
            town, suffix = OVERSEAS, ""
        code = f"{prefix}-{number:03d}"
        stores.append(
            StoreData(
                code=code,
                name=f"{brand} {town.name}{suffix}",
                region=town.region,
                address=Address(street_line(fake), town.postcode, town.name),
                timezone=town.timezone,
                tills=tuple(f"{code}-T{till}" for till in range(1, chance.randint(2, 6) + 1)),
                source_id=source_id,
            )
        )
    return stores


def street_line(fake: Faker) -> str:
    """An invented street and house number: "12, rue Guillot"."""
    return f"{fake.building_number()}, {fake.street_name()}"


def neighbouring_town(store: StoreData, chance: Random) -> Town:
    """A town of the store's region; the store's own in seven cases of ten, and always overseas."""
    home = Town(store.address.town, store.address.postcode, store.region, store.timezone)
    if store.region not in TOWNS or chance.random() < 0.7:
        return home
    return chance.choice(TOWNS[store.region])
