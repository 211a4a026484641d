"""Write a method of your own, and run it in `distill` or on the command line.

    python examples/own_method.py --output=own-run
    cd examples && keras-zskd distill --method=own_method:PicturesAlone --teacher=teacher.keras ...

The method trains a student with random initial weights on procedural pictures only. The page
`docs/own-method.md` explains how to write a method.
"""

import argparse
import dataclasses
import importlib.resources

import keras

import keras_zskd as zskd


@keras.saving.register_keras_serializable(package="examples")
@dataclasses.dataclass(frozen=True, kw_only=True)
class PicturesAlone(zskd.Method):
    """Trains on pictures of objects and of blobs, with new pictures in every batch.

    Args:
        epochs: Number of training epochs.
        steps: Number of steps per epoch.
        batch_size: Batch size of the training.
    """

    name = "pictures_alone"
    title = "a student trained on procedural pictures"
    reference = "an example of the documentation"

    epochs: int = 10
    steps: int = 80
    batch_size: int = 256

    def train(self, run):
        """Train a student. Called again from the first line after an interruption."""
        pictures = zskd.ProceduralPictures(
            run.teacher.input_shape, run.teacher.input_range, {"things": 0.5, "blobs": 0.5}
        )
        distiller = zskd.Distiller(run.teacher, run.new_student(), seed=run.seed)
        distiller.compile("adam", metrics=[zskd.metrics.TeacherAgreement()])
        run.fit(distiller, pictures, self.epochs, self.batch_size, steps=self.steps)
        # A different seed than that of the training, so that the pictures are held out.
        held_out = pictures.images(1_000, seed=run.seed + 1)
        return zskd.Trained(distiller.student, pictures, held_out, zskd.Origin.pictures(0))


def main():
    """Distill the LeNet-5 that ships with the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="own-run")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    path = importlib.resources.files("keras_zskd") / "assets" / "lenet5_mnist.keras"
    teacher = zskd.Teacher(str(path), input_range=(0.0, 1.0))
    zskd.distill(teacher, 0.5, PicturesAlone(epochs=options.epochs), options.output)


if __name__ == "__main__":
    main()
