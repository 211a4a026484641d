"""Distill a teacher, and evaluate teacher and student on your own pictures from a folder.

    python examples/own_pictures.py --teacher=teacher.keras --folder=./pictures

The folder contains one subfolder per class. The alphabetical order of the subfolders is the order
of the teacher's classes. The pictures are used only for evaluation, never for training.
"""

import argparse

import keras_zskd as zskd

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--teacher", required=True)
parser.add_argument("--folder", required=True)
parser.add_argument("--minutes", type=float, default=None)
parser.add_argument("--output", default="own-pictures-run")
options = parser.parse_args()

teacher = zskd.Teacher(options.teacher, input_range=(0.0, 1.0))
method = zskd.METHODS["best"](minutes=options.minutes)
run = zskd.distill(teacher, 0.5, method, options.output, dataset=options.folder)
for row in run.results["rows"]:
    print(row["model"], row["accuracy"])
