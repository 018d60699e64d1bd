"""Reasoning-aware speculative decoding: the loop, its rules and its drafters."""
