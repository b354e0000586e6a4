"""From bytes of unknown origin to a verified, normalised image."""
