"""The command line: parsers, config files, messages."""
