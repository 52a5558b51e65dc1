"""A brand's site."""

urlpatterns: list = []
