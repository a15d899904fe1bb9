"""Text as Polars expressions: usable without any model."""
