"""The platform's own site: brands, their host names, and who administers the platform."""

from django.urls import include, path

from cdp.admin_sites import platform_site

urlpatterns = [
    path("invitation/", include("tenants.invitations")),
    path("", platform_site.urls),
]
