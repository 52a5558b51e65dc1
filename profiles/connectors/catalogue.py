"""The table of kinds: a new one is a module that fills in a `Kind`, and a row here."""

from profiles.connectors import contest, elsewhere, folders, shopify, woocommerce
from profiles.connectors.kinds import Kind

KINDS: dict[str, Kind] = {
    kind.code: kind
    for kind in (
        elsewhere.TILLS,
        elsewhere.UPLOADS,
        folders.SFTP,
        folders.S3,
        shopify.KIND,
        woocommerce.KIND,
        contest.KIND,
        elsewhere.WEB_EVENTS,
    )
}
