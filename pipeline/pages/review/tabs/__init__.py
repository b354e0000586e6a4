"""The tabs of the review page: one module each, and the registry that lists them."""
