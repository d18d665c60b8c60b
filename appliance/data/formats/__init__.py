"""Layouts of preference data, one a file: HOLDS, `fits(table)`, `read(table)` and WRITERS by name."""
