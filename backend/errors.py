"""What people are told when something cannot be done.

Every message says what was wrong, what is allowed and what to do. All of them derive from
`HeadroomError`, so that a page or the command line can show the sentence and nothing else.
"""

from __future__ import annotations


class HeadroomError(Exception):
    """Something a person can put right; the message says how."""


class BadInput(HeadroomError, ValueError):
    """A caller's mistake: an unknown name, a value out of range, a malformed file."""


class ModelError(HeadroomError):
    """A model that cannot be loaded, is not supported, or returned numbers that are none."""


class DataError(HeadroomError):
    """A task whose rows cannot be found, read or used."""


class StoreError(HeadroomError):
    """A store or a bundle that cannot be read, or that does not match."""


class Cancelled(HeadroomError):
    """The work was stopped on request; what was finished before is stored."""
