"""`python -m espalier`: the command line."""

import sys

from espalier.analysis.report_cli import main

if __name__ == "__main__":
    sys.exit(main())
