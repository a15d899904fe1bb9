"""Logs: error lines, which of them mean the same, and the incidents that they tell of."""
