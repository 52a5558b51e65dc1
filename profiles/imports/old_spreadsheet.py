"""An old spreadsheet (XLS, XLSB) written out as JSON lines; run as a program of its own, never imported by the others.

Its library holds a sheet whole, and a few kilobytes can claim a sheet of 17 million cells. Here that costs this
process its life, by the limit set on its memory, and not the worker's.

    python old_spreadsheet.py FILE             the sheets: [[name, hidden, rows], ...]
    python old_spreadsheet.py FILE PLACE       the rows of one: [number, [cell, ...]]
"""

import json
import resource
import sys

from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum

MEMORY = 256 * 1024 * 1024


def told(value: object) -> object:
    if hasattr(value, "isoformat"):
        return value.isoformat().removesuffix("T00:00:00")
    return str(value) if not isinstance(value, bool | float | int | str) else value


def main(path: str, place: str = "") -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    write = sys.stdout.write
    try:
        book = CalamineWorkbook.from_path(path)
        if not place:
            hidden = {sheet.name: sheet.visible != SheetVisibleEnum.Visible for sheet in book.sheets_metadata}
            sheets = [
                [name, hidden.get(name, False), (book.get_sheet_by_name(name).end or (0, 0))[0] + 1]
                for name in book.sheet_names
            ]
            write(json.dumps(sheets) + "\n")
            return 0
        sheet = book.get_sheet_by_index(int(place))
        for number, row in enumerate(sheet.iter_rows(), start=1):
            write(json.dumps([number, [told(value) for value in row]]) + "\n")
    except (CalamineError, OSError, MemoryError) as broken:
        sys.stderr.write(f"{type(broken).__name__}: {broken}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
