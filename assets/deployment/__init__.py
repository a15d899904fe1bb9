"""What the deployment itself does: what its runs cost."""
