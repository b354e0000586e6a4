"""Stage `evaluate`: metrics, plots and the largest losses."""
