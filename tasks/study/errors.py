"""The one error type that a user's input can cause."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: the message is one sentence naming the file, row or key and what was expected.

    The command line prints the message alone and exits with code 2; every other exception is a defect of ours and
    keeps its traceback.
    """
