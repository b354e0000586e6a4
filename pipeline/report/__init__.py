"""`kalai report`: one page about a run, to send to somebody."""
