"""What no machine matters for: intervals and measures on simulated rows, whose truth is known."""
