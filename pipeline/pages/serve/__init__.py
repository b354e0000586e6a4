"""`kalai serve`: trained models on a local page, to draw for and to show pictures to."""
