"""The signals our apps send each other: what happens to a person, for the apps above that keep things about people.

Sent inside the transaction of the deed; a receiver that raises undoes it all. Receivers of merges write what they
moved into `merge.moved` of each, which the sender saves, and read it again to undo.

`profiles_untold`: no source speaks of these people any more, since an import was undone. What an app keeps of them
that means nothing alone goes; whatever still refers to one of them keeps the profile.

`ticket_moved`: a ticket was given to its right owner, or moved back (`move.undone_at`), from `giver_id` to `taker_id`.
Receivers write what they moved into `move.moved`, which the sender saves.
"""

from django.dispatch import Signal

profiles_merged = Signal()  # merges: list[Merge], not written yet, their profiles merged
profiles_unmerged = Signal()  # merge: Merge
profiles_untold = Signal()  # profile_ids: set[int]
ticket_moved = Signal()  # move: TicketMove, giver_id, taker_id: int
