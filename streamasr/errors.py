"""Errors meant to be read by people: one line that says what to do."""

from collections.abc import Sequence

__all__ = [
    "AudioError",
    "AudioWarning",
    "ConfigError",
    "DegradedWarning",
    "MissingError",
    "ModelError",
    "OutputError",
    "ProfileError",
    "StreamasrError",
    "unexpected",
]


class StreamasrError(Exception):
    """Base of all errors that are the input's or the user's, not the program's.

    The message is one line for a person. The command line prints it without a traceback.
    """


class AudioError(StreamasrError):
    """A recording cannot be opened or decoded, or its samples are unusable."""


class MissingError(AudioError):
    """Recordings of a list cannot be opened; ``problems`` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class AudioWarning(UserWarning):
    """Something about a recording that its listener should know, and that is no error."""


class ModelError(StreamasrError):
    """A model folder is incomplete, damaged, or does not fit its own config."""


class ConfigError(StreamasrError):
    """An option, a training configuration or a manifest is wrong."""


class OutputError(StreamasrError):
    """A transcript cannot be written where it was asked for."""


class DegradedWarning(UserWarning):
    """A recognizer has fallen back to a decoder that is worse than its model allows."""


class ProfileError(StreamasrError):
    """A profile was asked for that makes no sense or that this machine cannot make."""


def unexpected(name: str, error: Exception) -> str:
    """Return the line for a recording of this ``name`` that failed unexpectedly.

    One recording, whatever is wrong with it or with the library that reads it, never ends the job
    of the others.
    """
    reason = " ".join(str(error).split())
    return f"{name}: cannot be transcribed ({type(error).__name__}{': ' * bool(reason)}{reason})"
