"""One settings file for every place it runs: the environment alone makes the difference (see .env.example).

Without DATABASE_URL or CELERY_BROKER_URL, PostgreSQL and Valkey are started from wheels (`cdp/embedded.py`).
"""

import sys
from pathlib import Path

import environ
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from cdp import embedded

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"

env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

TESTING = "pytest" in sys.modules

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or embedded.local_secret(VAR_DIR)
BASE_DOMAIN = env.str("BASE_DOMAIN", default="localhost")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[BASE_DOMAIN, f".{BASE_DOMAIN}", "127.0.0.1"])
SECURE = env.bool("SECURE", default=False)
WEB_THREADS = env.int("WEB_THREADS", default=8)  # of each process of the web server
# The socket of the recorder of tickets, where web processes have one to hand them to.
TILL_RECORDER = env.str("TILL_RECORDER", default="")

# --- Apps: a table lives in public, in each brand's schema, or in both -----------------------------------------

BOTH_APPS = [
    "cdp.contrib.ContentTypesConfig",
    "cdp.contrib.AuthConfig",
    "cdp.contrib.AdminConfig",
    "django.contrib.sessions",
    "django.contrib.messages",
    "tenants.network",
]
SHARED_APPS = [
    "django_tenants",
    "tenants",
    *BOTH_APPS,
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "cdp",
]
TENANT_APPS = [*BOTH_APPS, "profiles", "loyalty", "campaigns"]
# Unfold's templates must be found before the admin's own.
INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    *[app for app in SHARED_APPS if not app.startswith("unfold")],
    *[app for app in TENANT_APPS if app not in SHARED_APPS],
]
# Django's own apps keep 32-bit keys: ours are 64-bit everywhere, and one migration an app instead of fifteen.
MIGRATION_MODULES = {
    "contenttypes": "cdp.migrations.contenttypes",
    "auth": "cdp.migrations.auth",
    "admin": "cdp.migrations.admin",
    "axes": None,  # counts failures in the cache, so its tables are not made
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TENANT_MODEL = "tenants.Brand"
TENANT_DOMAIN_MODEL = "tenants.Domain"
PUBLIC_SCHEMA_URLCONF = "cdp.urls_public"
ROOT_URLCONF = "cdp.urls"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
TENANT_LIMIT_SET_CALLS = True
SHOW_PUBLIC_IF_NO_TENANT_FOUND = False

# Constraints, triggers and functions of a brand's schema, each file idempotent, run again whenever a schema is
# created, cloned, renamed or restored (tenants/brand_sql.py).
BRAND_SQL = [
    BASE_DIR / "tenants/network/sql/append_only.sql",
    BASE_DIR / "tenants/network/sql/outbox.sql",
    BASE_DIR / "profiles/sql/append_only.sql",
    BASE_DIR / "profiles/sql/people.sql",
    BASE_DIR / "profiles/sql/tickets.sql",
    BASE_DIR / "profiles/sql/channels.sql",
    BASE_DIR / "profiles/sql/outbox.sql",
    BASE_DIR / "loyalty/sql/ledger.sql",
    BASE_DIR / "loyalty/sql/chain.sql",
    BASE_DIR / "loyalty/sql/posting.sql",
    BASE_DIR / "loyalty/sql/actions.sql",
    BASE_DIR / "loyalty/sql/benefits.sql",
    BASE_DIR / "loyalty/sql/finance.sql",
    BASE_DIR / "loyalty/sql/outbox.sql",
    BASE_DIR / "loyalty/sql/wallet.sql",
    BASE_DIR / "campaigns/sql/segments.sql",
    BASE_DIR / "campaigns/sql/handouts.sql",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "cdp.health.HealthMiddleware",
    "cdp.till_lane.TillLane",
    "tenants.middleware.BrandMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tenants.middleware.StaffLanguageMiddleware",
    "tenants.middleware.ScopeMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "cdp.api_errors.ProblemMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
WSGI_APPLICATION = "cdp.wsgi.application"

# --- Database, cache, broker ------------------------------------------------------------------------------------

DATABASE_URL = env.str("DATABASE_URL", default="") or embedded.ensure_postgres(VAR_DIR)
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="")
if not CELERY_BROKER_URL:
    CELERY_BROKER_URL = "memory://" if TESTING else embedded.ensure_valkey(VAR_DIR)

DATABASES = {
    "default": {
        **env.db_url_config(DATABASE_URL),
        "ENGINE": "django_tenants.postgresql_backend",
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        # Without a threshold psycopg prepares no statement, not even where it is asked to (`tenants/brand_sql.py`).
        "OPTIONS": {"application_name": "cdp", "connect_timeout": 5, "prepare_threshold": 5},
        "TEST": {"NAME": env.str("TEST_DATABASE", default="test_cdp")},
    }
}

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache"
        if TESTING
        else "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "tests" if TESTING else CELERY_BROKER_URL,
        # A cache that hangs keeps nobody waiting for long.
        "OPTIONS": {} if TESTING else {"socket_connect_timeout": 1, "socket_timeout": 1},
        "KEY_FUNCTION": "django_tenants.cache.make_key",
        "REVERSE_KEY_FUNCTION": "django_tenants.cache.reverse_key",
    }
}

CELERY_RESULT_BACKEND = None  # whoever waits reads the Job row
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_ALWAYS_EAGER = TESTING
CELERY_TASK_EAGER_PROPAGATES = TESTING
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"

# --- Who signs in -----------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "network.Staff"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "tenants.network.auth.RoleBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AXES_HANDLER = "axes.handlers.cache.AxesCacheHandler"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_ENABLED = not TESTING
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SECURE_SSL_REDIRECT = SECURE
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE else None
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0

# --- Words, days, files -----------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("fr", _("French")), ("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_THOUSAND_SEPARATOR = True
FORMAT_MODULE_PATH = "cdp.formats"
TIME_ZONE = "Europe/Paris"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns of a folder that is not there
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
MEDIA_ROOT = Path(env.str("MEDIA_ROOT", default="") or VAR_DIR / "media")
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
# Whether connectors may call hosts inside our own network, such as a brand's file server beside this machine.
CONNECTORS_REACH_PRIVATE = env.bool("CONNECTORS_REACH_PRIVATE", default=TESTING)

# --- Wallets: where passes are saved and changes are told ----------------------------------------------------------

APNS_URL = env.str("APNS_URL", default="https://api.push.apple.com")
GOOGLE_WALLET_URL = env.str(
    "GOOGLE_WALLET_URL", default="https://walletobjects.googleapis.com/walletobjects/v1"
)
GOOGLE_TOKEN_URL = env.str("GOOGLE_TOKEN_URL", default="https://oauth2.googleapis.com/token")
GOOGLE_SAVE_URL = env.str("GOOGLE_SAVE_URL", default="https://pay.google.com/gp/v/save")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        # Alpine, which the admin's widgets are written in, evaluates expressions.
        "script-src": ["'self'", "'unsafe-inline'", "'unsafe-eval'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
    }
}

# --- API ----------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        "tenants.network.auth.StaffBasicAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["tenants.network.permissions.RolePermission"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "cdp.pagination.Pages",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "cdp.api_errors.drf_exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Franchise CDP",
    "DESCRIPTION": "What tills, back offices and business-intelligence tools may ask of a brand.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SERVE_PUBLIC": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "loyalty.api.add_till_paths",
        "loyalty.benefits_api.add_paths",
        "loyalty.webshop.add_paths",
        "loyalty.me_api.add_paths",
        "profiles.events_api.add_event_path",
        "cdp.openapi.add_office_problems",
    ],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="WARNING")},
}

# --- Admin sites: a string is tried as an import path and called with the request --------------------------------

UNFOLD = {
    "SITE_TITLE": "cdp.admin_sites.site_title",
    "SITE_HEADER": "cdp.admin_sites.site_title",
    "SITE_SUBHEADER": "cdp.admin_sites.site_subheader",
    "SITE_SYMBOL": "hub",
    "SITE_URL": None,
    "SHOW_LANGUAGES": True,
    "LANGUAGES": {"action": "cdp.admin_sites.language_address"},
    "SITE_FAVICONS": [{"href": "cdp.admin_sites.favicon", "rel": "icon", "type": "image/svg+xml"}],
    "STYLES": ["cdp.admin_sites.stylesheet"],
    "BORDER_RADIUS": "8px",
    "COLORS": {
        "primary": {
            "50": "#effafa", "100": "#d6f1f2", "200": "#b1e3e6", "300": "#7dcdd3", "400": "#42afb8",
            "500": "#2fa8b3", "600": "#107782", "700": "#12606a", "800": "#154e57", "900": "#164149",
            "950": "#082a31",
        }
    },
    "SIDEBAR": {"navigation": "cdp.admin_sites.sidebar"},
}  # fmt: skip
