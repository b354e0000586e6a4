"""`kalai review`: a local page to look at a dataset and to decide about its pictures."""
