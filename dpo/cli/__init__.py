"""The command line: parses, calls the library, prints.  Nothing heavy is imported to show help."""

from dpo.cli.main import main

__all__ = ["main"]
