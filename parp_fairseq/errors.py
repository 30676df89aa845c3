"""The one error a user of this package is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Bad input, told in one line that names the file, key or row and says what to do.

    Command lines print it without a traceback and exit with code 2.
    """
