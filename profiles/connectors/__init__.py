"""By which ways data comes in: one module a kind, one small interface (`kinds.Kind`), one table (`catalogue.KINDS`)."""
