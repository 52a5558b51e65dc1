"""The platform's own site."""

urlpatterns: list = []
