"""The role table, asked by the API: reading a model needs `view`, writing `add`, `change` or `delete`."""

from rest_framework.permissions import BasePermission

DEEDS = {
    "GET": "view", "HEAD": "view", "OPTIONS": "view",
    "POST": "add", "PUT": "change", "PATCH": "change", "DELETE": "delete",
}  # fmt: skip


class RolePermission(BasePermission):
    """Asks the role of the person who signed in; a view without a model answers nobody but staff.

    A view may name its own deed with `permission = "app.verb_model"`.
    """

    def has_permission(self, request, view) -> bool:
        if not request.user.is_authenticated:
            return False
        named = getattr(view, "permission", None)
        if named:
            return request.user.has_perm(named)
        meta = view.queryset.model._meta
        return request.user.has_perm(f"{meta.app_label}.{DEEDS[request.method]}_{meta.model_name}")
