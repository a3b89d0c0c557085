"""`python -m diffode`."""

import sys

from diffode.cli import main

if __name__ == "__main__":
    sys.exit(main())
