"""The addresses of the store area. Each names its store, so that a page can be kept and shared."""

from django.urls import path

from cdp.store_area import statements, views

app_name = "store"

urlpatterns = [
    path("", views.choose, name="choose"),
    path("<slug:store_code>/", views.today, name="today"),
    path("<slug:store_code>/customers/", views.customers, name="customers"),
    path("<slug:store_code>/customers/<uuid:public_id>/", views.customer, name="customer"),
    path("<slug:store_code>/segments/", views.segments, name="segments"),
    path("<slug:store_code>/segments/new/", views.segment_templates, name="segment_templates"),
    path("<slug:store_code>/segments/new/<slug:template>/", views.new_segment, name="new_segment"),
    path("<slug:store_code>/segments/<int:pk>/", views.segment, name="segment"),
    path("<slug:store_code>/segments/<int:pk>/remove/", views.remove_segment, name="remove_segment"),
    path("<slug:store_code>/tills/", views.tills, name="tills"),
    path("<slug:store_code>/statements/", statements.months, name="statements"),
    path("<slug:store_code>/statements/<int:pk>/", statements.statement, name="statement"),
    path("<slug:store_code>/statements/<int:pk>/statement.csv", statements.as_csv, name="statement_csv"),
    path("<slug:store_code>/statements/<int:pk>/statement.pdf", statements.as_pdf, name="statement_pdf"),
]
