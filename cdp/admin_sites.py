"""The two admin sites: a brand's own, and the platform's, which alone knows the brands."""

from unfold.sites import UnfoldAdminSite


class BrandAdminSite(UnfoldAdminSite):
    pass


class PlatformAdminSite(UnfoldAdminSite):
    pass
