"""Meetings: transcripts, what people promised in them, and the minutes of each meeting."""
