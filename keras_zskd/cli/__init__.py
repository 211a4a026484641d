"""`keras-zskd <command>`: each command is a function of `jobs`, whose parameters are its flags."""

from keras_zskd.cli.command_line import launch, main

__all__ = ["launch", "main"]
