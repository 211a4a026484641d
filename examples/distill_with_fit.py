"""Train a student with `fit()`, like any Keras model, and monitor it in TensorBoard.

    python examples/distill_with_fit.py --output=fit-run
    tensorboard --logdir=fit-run/logs

The teacher is the LeNet-5 that ships with the package. TensorBoard shows the impressions of each
class during synthesis, and the agreement of student and teacher after each epoch.
"""

import argparse
import importlib.resources

import keras

import keras_zskd as zskd

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="fit-run")
parser.add_argument("--impressions", type=int, default=10_000)
parser.add_argument("--epochs", type=int, default=20)
options = parser.parse_args()

path = importlib.resources.files("keras_zskd") / "assets" / "lenet5_mnist.keras"
teacher = zskd.Teacher(str(path), input_range=(0.0, 1.0))
student = zskd.slim(teacher.original, width=0.5, weights="teacher")
logs = f"{options.output}/logs"

generator = zskd.ImpressionGenerator(teacher, targets=zskd.DirichletTargets())
impressions = generator.generate(
    options.impressions,
    directory=f"{options.output}/impressions",
    callbacks=[zskd.callbacks.ImpressionGallery(logs)],
)
seen, held_out = impressions.split()

distiller = zskd.Distiller(
    teacher, student, temperature=4.0, augmentations=[zskd.RandomAffine(), zskd.Mixup()]
)
distiller.compile(optimizer=keras.optimizers.Adam(1e-3), metrics=[zskd.metrics.TeacherAgreement()])
distiller.fit(
    seen.arrays["image"],
    batch_size=256,
    epochs=options.epochs,
    callbacks=[
        zskd.callbacks.HeldOutAgreement(held_out, teacher),
        keras.callbacks.TensorBoard(logs),
    ],
)
student.save(f"{options.output}/student.keras")
