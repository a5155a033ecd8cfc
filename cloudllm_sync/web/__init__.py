"""Replies into browsers: what Flask's and Django's views send, and how it is written."""
