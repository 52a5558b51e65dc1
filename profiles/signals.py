"""The signals our apps send each other: what happens to a person, for the apps above that keep things about people.

Sent inside the transaction of the merge; a receiver that raises undoes it all. Receivers write what they moved into
`merge.moved`, which the sender saves, and read it again to undo.
"""

from django.dispatch import Signal

profiles_merged = Signal()  # merge: Merge
profiles_unmerged = Signal()  # merge: Merge
