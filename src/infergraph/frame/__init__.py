"""Frames: the lazy plan, the session that runs it, and what a run or an estimate gives back."""
