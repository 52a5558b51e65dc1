"""Imports in head office: upload a file, see how it is read, correct which column is what, check, take in, read the
report, undo.

Each step has its address: what was uploaded, and how it is to be read, stand in the query, the file signed so that
nobody points at another one.
"""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from django import forms
from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpRequest
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from unfold.decorators import display
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminSelectWidget

from profiles.imports import files, report, run, undo
from profiles.imports import mapping as columns
from profiles.imports.detect import CHARSETS, DELIMITERS, Unreadable
from profiles.imports.mapping import FIELD_NAMES
from profiles.models import ImportRun, Source
from tenants.network.admin import ScopedModelAdmin
from tenants.network.models import Job, audit

log = logging.getLogger(__name__)
State = ImportRun.State

UPLOAD_SALT = "profiles.imports.upload"
UPLOAD_KEPT_SECONDS = 24 * 3600
REJECTS_A_PAGE = 50

DELIMITER_NAMES = {
    ";": gettext_lazy("semicolon ;"),
    ",": gettext_lazy("comma ,"),
    "\t": gettext_lazy("tabulator"),
    "|": gettext_lazy("bar |"),
}


@dataclass(frozen=True)
class Upload:
    """A kept file and what the person said about it."""

    file_hash: str
    file_name: str
    source_id: int

    def token(self) -> str:
        return signing.dumps(astuple(self), salt=UPLOAD_SALT, compress=True)

    @classmethod
    def of(cls, token: str) -> "Upload":
        """Raises `Http404` for a token that is forged, older than a day, or of a file no longer kept."""
        try:
            upload = cls(*signing.loads(token, salt=UPLOAD_SALT, max_age=UPLOAD_KEPT_SECONDS))
        except signing.BadSignature as forged:
            raise Http404(_("This upload is not known any more.")) from forged
        if not files.kept(upload.file_hash).exists():
            raise Http404(_("This upload is not known any more."))
        return upload


class UploadForm(forms.Form):
    source = forms.ModelChoiceField(
        Source.objects.all(), label=gettext_lazy("Source"), widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("The system that wrote the file."),
    )  # fmt: skip
    file = forms.FileField(
        label=gettext_lazy("File"), widget=UnfoldAdminFileFieldWidget,
        help_text=gettext_lazy("CSV in any charset and with any delimiter, or a spreadsheet (XLSX)."),
    )  # fmt: skip

    def keep(self) -> Upload:
        """Keep the uploaded file among the brand's."""
        uploaded = self.cleaned_data["file"]
        with tempfile.NamedTemporaryFile() as copy:
            for chunk in uploaded.chunks():
                copy.write(chunk)
            copy.flush()
            file_hash = files.keep(Path(copy.name))
        return Upload(file_hash, uploaded.name, self.cleaned_data["source"].pk)


class DialectForm(forms.Form):
    """How the file is to be read, where the guess was wrong."""

    charset = forms.ChoiceField(
        choices=[(name, name) for name in CHARSETS], required=False, label=gettext_lazy("Charset"),
        widget=UnfoldAdminSelectWidget,
    )  # fmt: skip
    delimiter = forms.ChoiceField(
        choices=list(DELIMITER_NAMES.items()), required=False, label=gettext_lazy("Delimiter"),
        widget=UnfoldAdminSelectWidget,
    )  # fmt: skip


class MappingForm(forms.Form):
    """A field of ours for each column of the file; `mapping` is what was chosen."""

    def __init__(self, plan: run.Plan, data=None):
        super().__init__(data)
        self.plan = plan
        choices = list(FIELD_NAMES.items())
        for place, column in enumerate(plan.dialect.header):
            self.fields[f"column_{place}"] = forms.ChoiceField(
                choices=choices, initial=plan.mapping[column], label=column, widget=UnfoldAdminSelectWidget
            )

    @property
    def mapping(self) -> dict[str, str]:
        return {
            column: self.cleaned_data[f"column_{place}"]
            for place, column in enumerate(self.plan.dialect.header)
            if f"column_{place}" in self.cleaned_data
        }

    def clean(self):
        try:
            chosen = columns.check(self.mapping, self.plan.dialect.header)
        except columns.WrongMapping as fault:
            self.add_error(f"column_{self.plan.dialect.header.index(fault.column)}", fault.message)
        else:
            for problem in columns.problems(chosen):
                if problem.stops:
                    self.add_error(None, problem.message)
        return self.cleaned_data

    def rows(self) -> list[dict]:
        """The columns as the page shows them: name, sample values, select, confidence."""
        return [
            {
                "column": column,
                "values": [row[place] for row in self.plan.dialect.sample_rows if place < len(row)],
                "field": self[f"column_{place}"],
                "confidence": self.plan.confidence[column],
                "ignored": self[f"column_{place}"].value() == columns.IGNORE,
            }
            for place, column in enumerate(self.plan.dialect.header)
        ]


@admin.register(ImportRun)
class ImportRunAdmin(ScopedModelAdmin):
    list_display = (
        "file_name", "source", "state_label", "received", "created", "corrected", "unchanged", "rejected", "started_at",
    )  # fmt: skip
    list_filter = ("source",)
    list_select_related = ("source", "job")
    search_fields = ("file_name",)
    date_hierarchy = "started_at"
    actions = None

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    @display(
        description=gettext_lazy("state"), ordering="state",
        label={
            "checking": "warning", "checked": "info", "taking_in": "warning", "done": "success", "failed": "danger",
            "undoing": "warning", "cancelled": "info", "undone": "info",
        },
    )  # fmt: skip
    def state_label(self, import_run):
        if import_run.job and import_run.job.state == Job.State.FAILED:
            return Job.State.FAILED, Job.State.FAILED.label
        return import_run.state, import_run.get_state_display()

    def get_urls(self):
        own = [
            path("add/mapping/", self._view(self.mapping_view), name="profiles_importrun_mapping"),
            *(
                path(
                    f"<int:pk>/{deed}/",
                    self._view(require_POST(self.deed_view)),
                    {"deed": deed},
                    name=f"profiles_importrun_{deed}",
                )
                for deed in DEEDS
            ),
            path("<int:pk>/errors.csv", self._view(self.errors_view), name="profiles_importrun_errors"),
        ]
        return [*own, *super().get_urls()]

    def _view(self, view):
        return self.admin_site.admin_view(view)

    def _page(self, request: HttpRequest, template: str, **context) -> TemplateResponse:
        request.current_app = self.admin_site.name
        shared = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, f"profiles/imports/{template}", shared | context)

    # --- Upload, mapping ----------------------------------------------------------------------------------------

    def add_view(self, request, form_url="", extra_context=None):
        """The first step: which file, from which source."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = UploadForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            try:
                upload = form.keep()
                run.prepare(files.kept(upload.file_hash), form.cleaned_data["source"])
            except Unreadable as fault:
                form.add_error("file", str(fault))
            except OSError:
                log.exception("an uploaded file could not be kept")
                form.add_error("file", _("the file could not be kept: no room, or no access, on the server"))
            else:
                return redirect(_mapping_address(upload))
        return self._page(request, "upload.html", title=_("Import a file"), form=form)

    def mapping_view(self, request):
        """The second step: how the file is read and which column is what; then the check, or the run at once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        upload = Upload.of(request.GET.get("upload", ""))
        source = get_object_or_404(Source, pk=upload.source_id)
        kept = files.kept(upload.file_hash)
        known = _dialect_in(request.GET)
        # Whoever comes back from a check finds the columns as they were chosen.
        checked = ImportRun.objects.filter(file_hash=upload.file_hash, source=source).order_by("-pk")
        before = (
            checked.filter(pk=request.GET["import"]).first()
            if request.GET.get("import", "").isdigit()
            else None
        )
        chosen = None
        if before and not known:
            known, chosen = {"charset": before.charset, "delimiter": before.delimiter}, before.mapping
        try:
            plan = run.prepare(kept, source, mapping=chosen, **known)
        except Unreadable as fault:
            messages.error(request, str(fault))
            return redirect(_mapping_address(upload) if known else "admin:profiles_importrun_add")
        form = MappingForm(plan, request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                started = run.start(
                    kept, source, request.user, upload.file_name, mapping=form.mapping,
                    charset=plan.dialect.charset, delimiter=plan.dialect.delimiter,
                    awaits_word="run" not in request.POST,
                )  # fmt: skip
            except run.NotNow as fault:
                form.add_error(None, str(fault))
            else:
                return redirect("admin:profiles_importrun_change", started.pk)
        return self._page(
            request,
            "mapping.html",
            title=upload.file_name,
            subtitle=source.name,
            plan=plan,
            form=form,
            dialect_form=DialectForm(
                initial={"charset": plan.dialect.charset, "delimiter": plan.dialect.delimiter}
            ),
            upload=upload.token(),
        )

    # --- Report -------------------------------------------------------------------------------------------------

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """The report: progress while it runs, then the numbers, the rejects and the error file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        import_run = self.get_object(request, object_id)
        if import_run is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        rejects = Paginator(import_run.rejects.all(), REJECTS_A_PAGE).get_page(request.GET.get("page"))
        job = import_run.job
        return self._page(
            request,
            "report.html",
            title=import_run.file_name,
            subtitle=import_run.source.name,
            original=import_run,
            import_run=import_run,
            job=job,
            is_moving=import_run.is_moving and job is not None and job.state not in Job.OVER,
            deeds=_deeds_open(import_run) if self.has_add_permission(request) else (),
            forecast=import_run.state == State.CHECKED and _shown(import_run.forecast),
            upload=_upload_of(import_run).token(),
            undo_until=import_run.finished_at and import_run.finished_at + undo.WITHIN,
            numbers=report.numbers(import_run),
            rejects=rejects,
            mapping=_in_words(import_run.mapping),
            delimiter=DELIMITER_NAMES.get(import_run.delimiter, import_run.delimiter),
        )

    def deed_view(self, request, pk, deed):
        """What somebody asks to be done with the import: see `DEEDS`."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        import_run = get_object_or_404(ImportRun, pk=pk)
        do, done = DEEDS[deed]
        try:
            do(import_run, request.user)
        except run.NotNow as fault:
            messages.error(request, str(fault))
        else:
            messages.success(request, done)
        return redirect("admin:profiles_importrun_change", pk)

    def errors_view(self, request, pk):
        """The rejected rows as a file, to be mended and taken in again."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        import_run = get_object_or_404(ImportRun, pk=pk)
        # Written out here, not streamed: a body produced later would have left the scope of this request.
        text = tempfile.TemporaryFile("w+", encoding="utf-8-sig", newline="")  # noqa: SIM115 - the response closes it
        rows = report.write_errors(import_run, text)
        text.flush()
        body = text.detach()
        body.seek(0)
        audit(request.user, "downloaded", import_run, rows=rows)
        name = f"{Path(import_run.file_name).stem}-erreurs.csv"
        return FileResponse(body, as_attachment=True, filename=name, content_type="text/csv; charset=utf-8")


def _mapping_address(upload: Upload) -> str:
    return reverse("admin:profiles_importrun_mapping") + "?" + urlencode({"upload": upload.token()})


def _dialect_in(query: Mapping[str, str]) -> dict[str, str]:
    """The charset and delimiter that the address asks for; words nobody knows are passed over."""
    allowed = {"charset": CHARSETS, "delimiter": DELIMITERS}
    return {name: query[name] for name, known in allowed.items() if query.get(name) in known}


def _in_words(mapping: Mapping[str, str]) -> list[tuple[str, str]]:
    read = [
        (column, str(FIELD_NAMES.get(field, field)))
        for column, field in mapping.items()
        if field != columns.IGNORE
    ]
    return sorted(read, key=lambda pair: pair[1])


def _shown(forecast: Mapping) -> dict:
    """The forecast as the page shows it: numbers with their names, reasons and samples by verdict."""
    matched = forecast["matched_by"]
    return {
        "received": forecast["received"],
        "counts": [(_VERDICT_NAMES[word], forecast[word]) for word in report.VERDICTS],
        "new": forecast["new"],
        "updated": forecast["updated"],
        "matched_by": [(_MATCHED_NAMES[kind], matched[kind]) for kind in _MATCHED_NAMES if matched.get(kind)],
        "faults": [
            (_VERDICT_NAMES[word], forecast["reasons"][word], forecast["samples"][word])
            for word in ("rejected", "corrected")
            if forecast["reasons"][word]
        ],
    }


def _upload_of(import_run: ImportRun) -> Upload:
    """The upload that the import came from, for whoever wants to map it anew."""
    return Upload(import_run.file_hash, import_run.file_name, import_run.source_id)


def _resume(import_run: ImportRun, by) -> None:
    if import_run.state == State.UNDOING:
        undo.resume(import_run)
    elif import_run.is_moving:
        run.resume(import_run)
    else:
        raise run.NotNow(_("this import is over"))


# What can be asked of an import: the verb, and what is said when it is done.
DEEDS = {
    "take_in": (run.go_on, gettext_lazy("The rows are being taken in.")),
    "call_off": (run.cancel, gettext_lazy("Called off. What was taken in so far stays until it is undone.")),
    "resume": (_resume, gettext_lazy("The import goes on behind its last whole chunk.")),
    "undo": (undo.undo, gettext_lazy("The import is being undone.")),
}


def _is_kept(import_run: ImportRun) -> bool:
    return files.kept(import_run.file_hash).exists()


def _deeds_open(import_run: ImportRun) -> set[str]:
    """Which of `DEEDS` make sense now."""
    is_open = {
        "take_in": import_run.state == State.CHECKED
        or (import_run.state == State.CANCELLED and import_run.staged is not None and _is_kept(import_run)),
        "call_off": import_run.state in (State.CHECKING, State.CHECKED, State.TAKING_IN),
        "resume": import_run.is_moving,
        "undo": undo.is_open(import_run) and undo.stands_before(import_run) is None,
    }
    return {deed for deed, now in is_open.items() if now}


_MATCHED_NAMES = {
    "card": gettext_lazy("the loyalty card"),
    "email": gettext_lazy("the e-mail"),
    "phone": gettext_lazy("the phone"),
}
_VERDICT_NAMES = {
    "created": gettext_lazy("accepted"),
    "corrected": gettext_lazy("corrected"),
    "unchanged": gettext_lazy("already known"),
    "rejected": gettext_lazy("rejected"),
}
