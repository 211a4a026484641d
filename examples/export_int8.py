"""Export a student as a SavedModel, LiteRT and int8 LiteRT, and run the int8 file.

    python examples/export_int8.py --output=files

The student starts from the weights of the LeNet-5 that ships with the package, and is not trained.
Procedural pictures calibrate the int8 file, so no data is needed.
"""

import argparse
import importlib.resources
import pathlib

import numpy as np

import keras_zskd as zskd

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="files")
options = parser.parse_args()
output = pathlib.Path(options.output)
output.mkdir(parents=True, exist_ok=True)

path = importlib.resources.files("keras_zskd") / "assets" / "lenet5_mnist.keras"
teacher = zskd.Teacher(str(path), input_range=(0.0, 1.0))
student = zskd.slim(teacher.original, width=0.5, weights="teacher")
pictures = zskd.ProceduralPictures(teacher.input_shape, teacher.input_range).images(500)

zskd.export(student, output / "student")  # SavedModel
zskd.export(student, output / "student.tflite")
result = zskd.export(student, output / "student_int8.tflite", calibration=pictures)
print(result)

int8 = zskd.LiteRTModel(output / "student_int8.tflite")
logits = int8(pictures[:100])
same = np.mean(logits.argmax(-1) == student.predict(pictures[:100], verbose=0).argmax(-1))
print(f"int8 and float32 predict the same class for {same:.0%} of 100 pictures")
print(f"{int8.milliseconds_per_image():.3f} ms per image")
