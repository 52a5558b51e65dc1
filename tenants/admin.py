"""The brands of the platform: their list, the page that opens a new one, and the page that watches it being made.

The classes are registered on the platform's site alone (cdp/admin_sites.py); a brand's own site has none of them.
"""

import csv
import io

from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Subquery
from django.db.models.fields.json import KT
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django_tenants.utils import get_public_schema_name, tenant_context
from unfold.admin import ModelAdmin, TabularInline

from tenants import invitations, onboarding
from tenants.forms import BrandForm
from tenants.models import Brand, Domain
from tenants.network.admin import Audited
from tenants.network.models import Job, Staff, Till
from tenants.plan import SAMPLE_CSV, BadPlan, default_domain
from tenants.scoping import whole_network


def site_of(domain: str, request: HttpRequest) -> str:
    """The address of a brand's site, reached the way this request was: same scheme, same port."""
    port = request.get_port()
    is_usual = port == ("443" if request.is_secure() else "80")
    return f"{request.scheme}://{domain}{'' if is_usual else f':{port}'}"


class DomainInline(TabularInline):
    model = Domain
    fields = ["domain", "is_primary"]
    extra = 0


class DomainAdmin(Audited, ModelAdmin):
    """The host names of all brands."""

    list_display = ["domain", "tenant", "is_primary"]
    list_select_related = ["tenant"]
    search_fields = ["domain", "tenant__name"]
    autocomplete_fields = ["tenant"]

    def get_queryset(self, request):
        # Without its own host name the platform could be reached no more.
        return super().get_queryset(request).exclude(tenant__schema_name=get_public_schema_name())


class BrandAdmin(Audited, ModelAdmin):
    """A brand is opened by an onboarding job, so "add" asks for a whole plan instead of a row."""

    list_display = ["name", "slug", "site", "language", "currency", "created_at", "onboarding_state"]
    search_fields = ["name", "slug", "domains__domain"]
    list_before_template = "tenants/unfinished_jobs.html"
    fields = ["name", "slug", "language", "currency", "time_zone", "cell", "created_at"]
    readonly_fields = ["slug", "currency", "cell", "created_at"]
    inlines = [DomainInline]

    def get_queryset(self, request):
        jobs = (
            Job.objects.filter(kind=onboarding.JOB_KIND)
            .annotate(slug=KT("arguments__slug"))
            .filter(slug=OuterRef("slug"))
            .order_by("-created_at")
        )
        return (
            super()
            .get_queryset(request)
            .exclude(schema_name=get_public_schema_name())
            .prefetch_related("domains")
            .annotate(job_id=Subquery(jobs.values("pk")[:1]), job_state=Subquery(jobs.values("state")[:1]))
        )

    @staticmethod
    def _primary_domain(brand: Brand) -> str:
        return next((domain.domain for domain in brand.domains.all() if domain.is_primary), "")

    def get_list_display(self, request):
        # The address depends on how this request reached us.
        self_request = request

        def site(brand: Brand) -> SafeString | str:
            domain = self._primary_domain(brand)
            return (
                format_html('<a class="underline" href="{0}">{1}</a>', site_of(domain, self_request), domain)
                if domain
                else "–"
            )

        site.short_description = _("site")
        return [site if column == "site" else column for column in self.list_display]

    def site(self, brand: Brand) -> str:
        return self._primary_domain(brand)

    def onboarding_state(self, brand: Brand) -> SafeString | str:
        if brand.job_id is None:
            return "–"
        state = Job.State(brand.job_state).label
        return format_html(
            '<a class="underline" href="{}">{}</a>',
            self._url("tenants_brand_onboarding", brand.job_id),
            state,
        )

    onboarding_state.short_description = gettext_lazy("onboarding")

    def has_delete_permission(self, request, obj=None):
        # A brand's schema holds people's data: it is closed by hand, after its backup (docs/operations.md).
        return False

    # --- The pages of an onboarding ---

    def get_urls(self):
        pages = [
            ("add/availability/", self.availability, "availability"),
            ("add/stores.csv", self.sample, "sample"),
            ("onboarding/<int:job_id>/", self.job_page, "onboarding"),
            ("onboarding/<int:job_id>/progress/", self.job_progress, "progress"),
            ("onboarding/<int:job_id>/resume/", self.job_resume, "resume"),
            ("onboarding/<int:job_id>/keys/", self.job_keys, "keys"),
        ]
        return [
            *(
                path(route, self.admin_site.admin_view(view), name=f"tenants_brand_{name}")
                for route, view, name in pages
            ),
            *super().get_urls(),
        ]

    def _url(self, name: str, *args) -> str:
        return reverse(f"admin:{name}", args=args, current_app=self.admin_site.name)

    def _page(self, request: HttpRequest, template: str, title: str, **context) -> TemplateResponse:
        request.current_app = self.admin_site.name
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context}
        return TemplateResponse(request, template, context)

    def _require_add(self, request: HttpRequest) -> Staff:
        """Whoever asks, being allowed to open brands. Raises `PermissionDenied`."""
        if not self.has_add_permission(request) or not isinstance(request.user, Staff):
            raise PermissionDenied
        return request.user

    def _job(self, request: HttpRequest, job_id: int) -> Job:
        self._require_add(request)
        return get_object_or_404(Job, pk=job_id, kind=onboarding.JOB_KIND)

    def changelist_view(self, request, extra_context=None):
        unfinished = Job.objects.filter(kind=onboarding.JOB_KIND).exclude(state=Job.State.DONE)
        return super().changelist_view(request, {**(extra_context or {}), "unfinished_jobs": unfinished[:20]})

    def add_view(self, request, form_url="", extra_context=None):
        """Asks for the plan of a brand and sends it to a worker."""
        asker = self._require_add(request)
        form = BrandForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            try:
                job = onboarding.ask(form.plan, by=asker)
            except BadPlan as bad:  # somebody took the name since the form was checked
                form.add_faults(bad)
            else:
                return HttpResponseRedirect(self._url("tenants_brand_onboarding", job.pk))
        return self._page(request, "tenants/onboard.html", _("Add brand"), form=form)

    def availability(self, request: HttpRequest) -> HttpResponse:
        """Whether the short name and the host name in the form are free: a line for the page."""
        self._require_add(request)
        slug = request.GET.get("slug", "").strip()
        domain = request.GET.get("domain", "").strip().lower() or default_domain(slug)
        problems = (
            [onboarding.why_slug_is_taken(slug), onboarding.why_domain_is_taken(domain)] if slug else []
        )
        context = {"domain": domain if slug else "", "problems": list(filter(None, problems))}
        return TemplateResponse(request, "tenants/availability.html", context)

    def sample(self, request: HttpRequest) -> HttpResponse:
        """A file of stores to begin from."""
        self._require_add(request)
        # With a byte-order mark, so that spreadsheets read the accents.
        content = ("\ufeff" + SAMPLE_CSV).encode()
        headers = {"Content-Disposition": 'attachment; filename="stores.csv"'}
        return HttpResponse(content, content_type="text/csv; charset=utf-8", headers=headers)

    def job_page(self, request: HttpRequest, job_id: int) -> HttpResponse:
        job = self._job(request, job_id)
        return self._page(request, "tenants/onboarding.html", job.title, **self._progress_of(job, request))

    @method_decorator(never_cache)
    def job_progress(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """The part of the page that is asked for again while the job runs."""
        job = self._job(request, job_id)
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "tenants/onboarding_progress.html", self._progress_of(job, request))

    def job_resume(self, request: HttpRequest, job_id: int) -> HttpResponse:
        job = self._job(request, job_id)
        if request.method == "POST":
            onboarding.resume(job, by=self._require_add(request))
        return HttpResponseRedirect(self._url("tenants_brand_onboarding", job.pk))

    @method_decorator(never_cache)
    def job_keys(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Shows the tills' keys, for the only time: by a button, because browsers prefetch links."""
        job = self._job(request, job_id)
        if request.method != "POST":
            return HttpResponseRedirect(self._url("tenants_brand_onboarding", job.pk))
        keys = onboarding.take_till_keys(job)
        lines = io.StringIO()
        writer = csv.writer(lines, delimiter=";", lineterminator="\n")
        writer.writerow(["store", "till", "key"])
        writer.writerows([store, till, key] for store, tills in keys.items() for till, key in tills.items())
        return self._page(
            request,
            "tenants/till_keys.html",
            _("Till keys"),
            job=job,
            keys=keys,
            lines=lines.getvalue(),
            count=sum(map(len, keys.values())),
        )

    def _progress_of(self, job: Job, request: HttpRequest) -> dict:
        codes = [code for code, _title in onboarding.step_titles()]
        at = codes.index(job.step) if job.step in codes else 0
        is_done = job.state == Job.State.DONE
        steps = []
        for number, (_code, title) in enumerate(onboarding.step_titles()):
            state = "done" if is_done or number < at else "waiting"
            if number == at and not is_done:
                state = job.state
            steps.append({"title": title, "state": state})
        return {
            "job": job,
            "steps": steps,
            "is_moving": job.state in {Job.State.WAITING, Job.State.RUNNING},
            "may_be_resumed": onboarding.may_be_resumed(job),
            "has_till_keys": is_done and onboarding.has_till_keys(job),
            **(self._outcome(job, request) if is_done else {}),
        }

    def _outcome(self, job: Job, request: HttpRequest) -> dict:
        """What to hand over, and what is left to do, as the brand's schema says it now."""
        brand = Brand.objects.filter(slug=job.arguments["slug"]).first()
        if brand is None:
            raise Http404
        site = site_of(job.arguments["domain"], request)
        with tenant_context(brand), whole_network():
            waiting = [(staff, site + invitations.path_of(staff)) for staff in invitations.not_accepted()]
            people, tills = Staff.objects.count(), Till.objects.count()
            silent = Till.objects.filter(last_used_at=None).count()
        return {
            "site": site,
            "invitations": waiting,
            "checklist": [
                {
                    "is_done": not waiting,
                    "text": _("Invitations accepted: %(done)d of %(all)d")
                    % {"done": people - len(waiting), "all": people},
                },
                {
                    "is_done": not silent,
                    "text": _("Tills that have called: %(done)d of %(all)d")
                    % {"done": tills - silent, "all": tills},
                },
            ],
        }
