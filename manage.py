#!/usr/bin/env python
"""Django's command line for the platform: `manage.py help` lists the verbs."""

import os
import sys


def main() -> None:
    if sys.argv[1:2] == ["unify_file"]:
        # Asks no database and needs no app: to load them would take longer than to match a small file.
        from profiles.matching.__main__ import main as unify_file

        sys.exit(unify_file(sys.argv[2:], program="manage.py unify_file"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
