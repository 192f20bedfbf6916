"""The package by the name that the explorer calls it, where Headroom is installed.

The pages say `backend`, as in a checkout. Installed, this file lies beside them under that name, and a module that has
a path is a package: `backend.values` is then the file that `headroom.values` is.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[1])]
