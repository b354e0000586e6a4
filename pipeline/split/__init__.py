"""Stage `split`: training, validation and test sets that do not leak."""
