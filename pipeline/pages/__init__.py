"""What kalai's local pages share: who may ask, how they are served, how they look."""
