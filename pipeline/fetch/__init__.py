"""Stage `fetch`: published archives, downloaded and verified."""
