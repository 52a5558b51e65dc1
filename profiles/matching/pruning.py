"""Which blocking rules earn their place: found without labels, by the pairs that each brings together.

The batch asks all rules; an index that is kept up record by record holds as few keys as will do. Rules overlap, so a
greedy choice (Nemhauser, Wolsey and Fisher 1978: never worse than 1 - 1/e of the best one) needs few of them.
"""

import numpy as np

from profiles.matching.arrays import Bools, Ints
from profiles.matching.keys import Atoms, Rule, rules
from profiles.matching.table import Table

MOST_RULES = 16
# Rules are added until this share of the pairs that any rule finds is found.
ENOUGH = 0.995
FEWEST_PAIRS = 200


def yielding_rules(table: Table, left: Ints, right: Ints, largest: int) -> list[str]:
    """Names of the rules under which the pairs (left[i], right[i]), believed to be one person each, meet in blocks of
    at most ``largest`` records: identifiers always, then by what each adds. All rules where there are too few pairs
    to tell."""
    atoms, all_rules = Atoms(table), rules(table.columns)
    if len(left) < FEWEST_PAIRS:
        return [rule.name for rule in all_rules]
    meets = {rule.name: _meets(atoms, rule, left, right, largest) for rule in all_rules}
    chosen = [rule.name for rule in all_rules if rule.identifier]
    found = (
        np.logical_or.reduce([meets[name] for name in chosen]) if chosen else np.zeros(len(left), dtype=bool)
    )
    wanted = ENOUGH * np.logical_or.reduce(list(meets.values())).sum()
    while len(chosen) < MOST_RULES and found.sum() < wanted:
        best = max(meets, key=lambda name: int((meets[name] & ~found).sum()))
        chosen.append(best)
        found = found | meets[best]
    return chosen


def _meets(atoms: Atoms, rule: Rule, left: Ints, right: Ints, largest: int) -> Bools:
    keys = atoms.keys(rule)
    values, where, counts = np.unique(keys, return_inverse=True, return_counts=True)
    usable = (counts <= largest) & (values != 0)
    meets: Bools = (keys[left] == keys[right]) & usable[where[left]]
    return meets
