"""Local web pages: the server, its protection, and the pages of `kalai review` and `serve`."""
