"""What can go wrong for a person at the keyboard, and the exit status each kind ends with.

Every message is one sentence that names the file or the argument, says what was expected and what was found, and holds
no patient identity.
"""

from __future__ import annotations

from spectac_fast.terminal import visible


class SpectacError(Exception):
    """Base of every error meant for people; the command line prints its sentence and no traceback.

    Its text is one line of characters that show themselves, whatever the names of files are.
    """

    exit_code = 1

    def __str__(self) -> str:
        return visible(super().__str__())


class InputError(SpectacError):
    """An input that cannot be used: not DICOM, truncated, wrong kind, wrong geometry, no counts."""


class NotApplicableError(InputError):
    """A sound file that is not what is corrected here: skipped in a folder, refused where it was named."""


class UsageError(SpectacError):
    """Arguments that do not make sense together."""

    exit_code = 2


class NoInputError(SpectacError):
    """Nothing to work on where the user pointed."""

    exit_code = 3


class SetupError(SpectacError):
    """The surroundings are not as needed: no such device, no such model, an output folder that cannot be written."""

    exit_code = 4
