"""The tables of loyalty, a room each: the programme, the ledger, what stores owe each other, tills, earning without a
ticket, cases, finance, benefits, what is tried out, and members' links."""

from loyalty.models.benefits import (
    Coupon,
    CouponTally,
    CouponUse,
    Reward,
    RewardStock,
    StackingClass,
    StoreExit,
    TicketPayment,
    TierGift,
    Voucher,
)
from loyalty.models.cases import Case, CaseTicket
from loyalty.models.earning import Action, Claim, ClaimTally
from loyalty.models.finance import AccountingPolicy, Adjustment, BreakageEstimate, OpeningLine, OpeningRun
from loyalty.models.ledger import Account, Lot, LotExtension, LotUse, Posting, Transaction
from loyalty.models.links import MemberLinks
from loyalty.models.programme import Membership, Programme, Rule, RuleVersion, Tier, TierChange
from loyalty.models.segments import SegmentMember, SegmentRead
from loyalty.models.settlement import FundingKey, SettlementLine, SettlementStatement
from loyalty.models.simulation import Replay, RuleDraft, SavedSimulation
from loyalty.models.tills import Cashier, ParkedReturn, StorePlace, TicketCashier, TillRequest

__all__ = [
    "Account",
    "AccountingPolicy",
    "Action",
    "Adjustment",
    "BreakageEstimate",
    "Case",
    "CaseTicket",
    "Cashier",
    "Claim",
    "ClaimTally",
    "Coupon",
    "CouponTally",
    "CouponUse",
    "FundingKey",
    "Lot",
    "LotExtension",
    "LotUse",
    "MemberLinks",
    "Membership",
    "OpeningLine",
    "OpeningRun",
    "ParkedReturn",
    "Posting",
    "Programme",
    "Replay",
    "Reward",
    "RewardStock",
    "Rule",
    "RuleDraft",
    "RuleVersion",
    "SavedSimulation",
    "SegmentMember",
    "SegmentRead",
    "SettlementLine",
    "SettlementStatement",
    "StackingClass",
    "StoreExit",
    "StorePlace",
    "TicketCashier",
    "TicketPayment",
    "Tier",
    "TierChange",
    "TierGift",
    "TillRequest",
    "Transaction",
    "Voucher",
]
