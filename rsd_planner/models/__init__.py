"""The target family: one implementation of the Alpamayo layout and what it needs."""
