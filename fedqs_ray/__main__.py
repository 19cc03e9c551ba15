"""`python -m fedqs_ray` is `fedqs`."""

import sys

from fedqs_ray.cli.commands import main

sys.exit(main())
