"""`python -m scoreda`."""

import sys

from scoreda.cli import main

sys.exit(main())
