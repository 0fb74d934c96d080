"""The version of the package, for whoever writes it down; pyproject.toml reads it here."""

__version__ = "0.1.0"
