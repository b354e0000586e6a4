"""Figures for people, drawn without a display and without a network."""
