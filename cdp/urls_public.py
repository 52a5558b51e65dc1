"""The platform's own site: brands, their host names, and who administers the platform."""

from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from cdp.admin_sites import platform_site

urlpatterns = [
    path("favicon.ico", RedirectView.as_view(url=static("cdp/icon.svg"))),
    path("invitation/", include("tenants.invitations")),
    path("", platform_site.urls),
]
