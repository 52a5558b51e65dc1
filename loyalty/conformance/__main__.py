"""`python -m loyalty.conformance`: see `report`."""

import sys

from loyalty.conformance.report import main

if __name__ == "__main__":
    sys.exit(main())
