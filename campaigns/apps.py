from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CampaignsConfig(AppConfig):
    name = "campaigns"
    verbose_name = _("Marketing")

    def ready(self):
        from campaigns.rule_segments import NationalSegments
        from loyalty import segments

        segments.register(NationalSegments())
