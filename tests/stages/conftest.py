"""Makes `made_run` importable by the tests of the stages, as the test runner imports each file by its path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
