"""Answer schemas, and what a response is worth: pure functions that know no calls."""
