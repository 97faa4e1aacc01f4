"""Record what the command line and the docks do, and compare a later version of the package with the recording."""

from __future__ import annotations

from golden.main import main  # the folder beside this file, which goes before the file itself

if __name__ == "__main__":
    raise SystemExit(main())
