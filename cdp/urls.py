"""A brand's site: the till and back-office API, the stores' own area, and head office at the root.

Head office comes last, because an admin site answers every address below its root.
"""

from importlib import import_module

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularSwaggerView


def _landed(prefix, module):
    try:
        import_module(module)
    except ImportError:
        return []
    return [path(prefix, include(module))]


urlpatterns = [
    path("api/v1/", include("cdp.api_v1")),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="api:schema"), name="api_docs"),
    *_landed("store/", "cdp.store_area.urls"),
    path("invitation/", include("tenants.invitations")),
    path("", admin.site.urls),
]
