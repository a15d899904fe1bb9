"""``python -m infergraph.cli`` does what ``infergraph`` does."""

from infergraph.cli import main

if __name__ == "__main__":
    main()
