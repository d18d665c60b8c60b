"""The command line: one file per command group. A command parses, calls and prints; nothing heavy is imported before it runs."""
