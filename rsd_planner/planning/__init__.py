"""From messages to an observation, and from an answer to a path that may be followed."""
