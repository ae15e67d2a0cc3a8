"""The command line `signllm`. A command imports what it needs when it runs, so that help is there at once."""

from signllm.cli.app import app

__all__ = ["app"]
