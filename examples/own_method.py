"""A method of your own: one class, which `distill` and the command line run like any other.

    python examples/own_method.py --output=/tmp/own
    cd examples && keras-zskd distill --method=own_method:PicturesAlone --teacher=teacher.keras ...

It trains a student from random weights on procedural pictures alone.
"""

import argparse
import dataclasses
import importlib.resources

import keras

import keras_zskd as zskd


@keras.saving.register_keras_serializable(package="examples")
@dataclasses.dataclass(frozen=True, kw_only=True)
class PicturesAlone(zskd.Method):
    """Things on a ground and blobs, fresh in every batch.

    Args:
        epochs: Epochs of the training.
        steps: Steps of an epoch.
        batch_size: Batch size of the training.
    """

    name = "pictures_alone"
    title = "a student trained on procedural pictures"
    reference = "an example of the documentation"

    epochs: int = 10
    steps: int = 80
    batch_size: int = 256

    def train(self, run):
        """Train a student; called again from its first line after an interruption."""
        pictures = zskd.ProceduralPictures(
            run.teacher.input_shape, run.teacher.input_range, {"things": 0.5, "blobs": 0.5}
        )
        distiller = zskd.Distiller(run.teacher, run.new_student(), seed=run.seed)
        distiller.compile("adam", metrics=[zskd.metrics.TeacherAgreement()])
        run.fit(distiller, pictures, self.epochs, self.batch_size, steps=self.steps)
        # The seed is another one than that of the training.
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
