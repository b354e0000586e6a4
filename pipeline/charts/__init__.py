"""Pictures of numbers, for people: drawn without a display and without a network."""
