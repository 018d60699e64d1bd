"""Training of the target and, later, of drafters: staged, seeded, resumable."""
