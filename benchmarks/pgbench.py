"""pgbench on the server that the project uses: how often a statement runs with a number of clients."""

import re
import subprocess
import tempfile
from pathlib import Path


def rate(script: str, schema: str, clients: int, seconds: int) -> float:
    """Transactions a second. The script is pgbench's own language; names resolve in the schema."""
    from django.conf import settings

    from cdp.embedded import postgres_program

    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        Path(file.name).write_text(script)
        told = subprocess.run(
            [
                postgres_program("pgbench"), "--no-vacuum", "--protocol=prepared", f"--client={clients}",
                "--jobs=2", f"--time={seconds}", f"--file={file.name}", settings.DATABASE_URL,
            ],
            env={"PGOPTIONS": f"-c search_path={schema},public"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
    if "number of failed transactions: 0 " not in told.stdout:
        raise RuntimeError(told.stdout + told.stderr)
    return float(re.search(r"tps = ([\d.]+) ", told.stdout).group(1))
