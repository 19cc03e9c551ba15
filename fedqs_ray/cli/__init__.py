"""The command line: parser, commands, and what a person sees."""
