"""Decode, verify and normalise images of unknown origin."""
