"""`python -m engram_client.cli`: the command line without its script."""

from engram_client.cli import main

if __name__ == "__main__":
    main()
