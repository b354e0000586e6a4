"""`kalai review`: a local page to look at a dataset and decide about its images."""
