"""The version, in one place: packaging reads it here and so does the package."""

__version__ = "1.0.0rc1"
