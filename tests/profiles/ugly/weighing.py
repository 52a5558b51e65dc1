"""Read files in a process of their own and say what came of each and how much memory it took at most.

python -m tests.profiles.ugly.weighing FILE...
"""

import json
import os
import resource
import sys
from pathlib import Path

import django


def told(path: Path) -> dict:
    from profiles.imports.detect import Unreadable, detect
    from profiles.imports.reading import Refused, rows

    read, refused = 0, []
    try:
        for item in rows(path, detect(path)):
            if isinstance(item, Refused):
                refused.append([item.line, item.reason])
            else:
                read += 1
    except Unreadable as fault:
        return {"unreadable": str(fault)}
    return {"read": read, "refused": refused[:10]}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    django.setup()
    from django.utils import translation

    with translation.override("en"):
        answers = {Path(name).name: told(Path(name)) for name in sys.argv[1:]}
    # Not getrusage: what the process that started this one weighed counts there as well.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    helpers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    sys.stdout.write(
        json.dumps({"files": answers, "megabytes": round(peak), "helpers_megabytes": round(helpers)})
    )
