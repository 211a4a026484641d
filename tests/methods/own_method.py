"""A method from outside the package: one file, one class."""

import keras

import keras_zskd as zskd


@keras.saving.register_keras_serializable(package="own")
class Uniform(zskd.Method):
    """Uniform noise.

    Args:
        num_images: Number of images.
        epochs: Epochs of the training.
    """

    name = "uniform"
    title = "a student trained on uniform noise"
    reference = "nobody, 2026"

    def __init__(self, num_images: int = 40, epochs: int = 2):
        self.num_images, self.epochs = num_images, epochs

    def train(self, run: zskd.Run) -> zskd.Trained:
        """See `Method.train`."""
        shape = (self.num_images, *run.teacher.input_shape)
        images = keras.random.uniform(shape, seed=run.seed).numpy()
        source = zskd.Arrays({"image": images})
        distiller = zskd.Distiller(run.teacher, run.new_student(), seed=run.seed)
        distiller.compile("adam")
        run.fit(distiller, source, self.epochs, batch_size=10)
        origin = zskd.Origin("noise", uses_data=False, text="They are uniform noise.")
        return zskd.Trained(distiller.student, source, images[:5], origin)
