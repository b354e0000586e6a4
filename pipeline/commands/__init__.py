"""The commands of `kalai` that are not stages."""
