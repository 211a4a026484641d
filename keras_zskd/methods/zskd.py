"""Zero-Shot Knowledge Distillation in Deep Networks (Nayak et al., ICML 2019): data impressions."""

from keras_zskd.distillation.augmentation import Mixup, RandomAffine
from keras_zskd.distillation.paper_augmentation import PaperAugmentation
from keras_zskd.impressions.canvas import UniformCanvas
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.targets import DirichletTargets, Targets
from keras_zskd.methods.method import Method, Recipe
from keras_zskd.teacher import Teacher


def best_recipe(targets: type[Targets], num_impressions: int = 40_000, epochs: int = 60) -> Recipe:
    """Our best recipe, with the given targets; its figures are in results/.

    More impressions of fewer steps make the better transfer set: many short walks from different
    starts rather than few long ones.
    """
    return Recipe(
        synthesis=lambda teacher: ImpressionGenerator(teacher, targets=targets()),
        num_impressions=num_impressions,
        temperature=20.0,
        augmentations=lambda: (RandomAffine(), Mixup()),
        batch_size=256,
        epochs=epochs,
        learning_rate=3e-3,
    )


def paper_recipe(targets: type[Targets]) -> Recipe:
    """The settings of the released CIFAR-10 code, with the given targets.

    Where the paper and its code disagree: the code's second normalisation cancels the smaller beta
    (we follow the paper, both scales in effect); the code starts every batch after the first from
    the last one's result (we start every impression from noise of its own, as the paper says); the
    code rescales each batch by its common minimum and maximum (we rescale each impression by its
    own). The code augments each impression 106-fold beforehand; here the same transforms are drawn
    anew for every batch.
    """

    def synthesis(teacher: Teacher) -> ImpressionGenerator:
        return ImpressionGenerator(
            teacher,
            targets=targets(),
            temperature=20.0,
            priors=(),
            transforms=(),
            canvas=UniformCanvas("rescale"),
            steps=1500,
            learning_rate=1e-3,
            tolerance=None,
            precision="float32",
        )

    return Recipe(
        synthesis=synthesis,
        num_impressions=40_000,
        temperature=20.0,
        augmentations=lambda: (PaperAugmentation(),),
        batch_size=64,
        epochs=500,
        learning_rate=1e-3,
        decay=False,
    )


ZSKD = Method(
    name="zskd",
    needs="the teacher alone, with a Dense layer or 1x1 convolution before its logits",
    gives="a student trained on data impressions (Dirichlet targets from class similarity)",
    reference=(
        "Nayak, Mopuri, Shaj, Babu, Chakraborty: Zero-Shot Knowledge Distillation in Deep Networks, "
        "ICML 2019"
    ),
    published=(
        "MNIST 98.77, Fashion-MNIST 79.62 (LeNet-5 to LeNet-5-Half), CIFAR-10 69.56 (AlexNet to "
        "AlexNet-Half)"
    ),
    presets={
        "default": best_recipe(DirichletTargets),
        # The default in less time, for a first look.
        "demo": best_recipe(DirichletTargets, num_impressions=20_000, epochs=60),
        "paper": paper_recipe(DirichletTargets),
    },
)
