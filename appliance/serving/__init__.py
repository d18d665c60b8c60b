"""Models that answer over HTTP."""
