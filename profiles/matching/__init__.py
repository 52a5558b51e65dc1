"""Which records are about one person. Pure: no Django, no database.

    table       records as columns: normalised unique values, and a code per record
    keys        blocking rules: which pairs are worth comparing; `blocks` finds them, `pruning` says which rules do
    levels      comparisons: how alike two values are, as a named level; `fields` names them
    model       match weights: what each level is worth; `learning` learns them, `starting` stands in for that
    scoring     from levels to bits
    rules       what no score may override
    clustering  from pairs to persons; `tiers` says which of them need somebody's word
    reasons     why, as data and as a sentence

`unifying` does all of it for a whole brand, `recognising` for a few new records among their neighbours.
"""
