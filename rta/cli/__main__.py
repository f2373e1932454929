"""`python -m rta.cli`."""

import sys

from rta.cli.app import main

sys.exit(main())
