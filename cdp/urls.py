"""A brand's site: the till and back-office API, the stores' own area, and head office at the root.

Head office comes last, because an admin site answers every address below its root.
"""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerView

from cdp import api_errors

urlpatterns = [
    path("favicon.ico", RedirectView.as_view(url=static("cdp/icon.svg"))),
    path("api/v1/", include("cdp.api_v1")),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="api:schema"), name="api_docs"),
    re_path("^api/", api_errors.nothing_here),
    path("store/", include("cdp.store_area.urls")),
    path("me/", include("loyalty.me_pages")),
    path("wallet/", include("loyalty.wallet_service")),
    path("invitation/", include("tenants.invitations")),
    path("", admin.site.urls),
]
