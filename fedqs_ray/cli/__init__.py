"""Command line: parser, commands, progress and tables."""
