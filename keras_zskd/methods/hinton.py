"""Distilling the Knowledge in a Neural Network (Hinton et al., 2015): the bound with all the data."""

from keras_zskd.methods.method import Method, Recipe

HINTON = Method(
    name="hinton",
    needs="the teacher and its labelled training data",
    gives="a student trained on real data; what a zero-shot student is measured against",
    reference="Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015",
    published=(
        "MNIST 99.25, Fashion-MNIST 89.66 (LeNet-5 to LeNet-5-Half), CIFAR-10 80.08 (AlexNet to "
        "AlexNet-Half), as printed by Nayak et al."
    ),
    presets={
        "default": Recipe(
            synthesis=None,
            num_impressions=0,
            temperature=20.0,
            augmentations=tuple,
            batch_size=128,
            epochs=20,
            learning_rate=2e-3,
            hard_label_weight=0.3,
        ),
        # The settings that the ZSKD code uses for its own baseline.
        "paper": Recipe(
            synthesis=None,
            num_impressions=0,
            temperature=20.0,
            augmentations=tuple,
            batch_size=64,
            epochs=500,
            learning_rate=1e-3,
            decay=False,
            hard_label_weight=0.3,
        ),
    },
)
