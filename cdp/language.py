"""The language of the pages: of this browser, and of the person who signed in."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.utils.translation import gettext as _
from django.views.i18n import set_language

from tenants.network.models import Staff


def choose(request: HttpRequest) -> HttpResponse:
    """Take the language chosen in the menu, remember it for the person, and go back to the page."""
    language = request.POST.get("language", "")
    if request.method == "POST" and language not in dict(settings.LANGUAGES):
        return HttpResponseBadRequest(_("The pages do not speak this language."))
    if request.method == "POST" and request.user.is_authenticated:
        Staff.objects.filter(pk=request.user.pk).update(language=language)
    return set_language(request)
