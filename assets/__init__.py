"""The assets of this deployment, one package a subject."""
