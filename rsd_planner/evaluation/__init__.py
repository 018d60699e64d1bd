"""What drafts are worth: exactness, acceptance, time and paths, measured the same way for all."""
