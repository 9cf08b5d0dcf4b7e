"""`python -P -m action`: one step of a workflow."""

import sys

from action.main import main

if __name__ == "__main__":
    sys.exit(main())
