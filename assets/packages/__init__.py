"""Packages: an audit of the Python packages installed on this machine, from what they say about themselves.

Real input without a network: every distribution carries its summary, README and licence file. The models read
these; what a package *declares* about its licence is kept apart from what they read, so that the two can be compared.
"""
