"""`keras-zskd <command>`: one command, one function of `jobs`, whose signature is its flags."""

from keras_zskd.cli.command_line import launch, main

__all__ = ["launch", "main"]
