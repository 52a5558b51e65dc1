"""Nothing of the whole has a list of its own; here the platform's site learns which models it shows."""

from cdp.admin_sites import register_platform

register_platform()
