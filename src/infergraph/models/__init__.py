"""Models and their providers: what goes to a model, what comes back, what it costs.

One file for each wire protocol. Nothing here retries, waits, stores, or knows rows and plans.
"""
