"""The checks, one family a file; each file's CHECKS are found by listing this folder."""
