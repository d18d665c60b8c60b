"""What takes queued runs and leads each to its end, whatever dies on the way."""
