"""Did the run help? The same prompts before and after it, counted, charted and put into words."""
