"""The suites: the comparison of Nayak et al. (ICML 2019), and later systems.

Published figures are those of Nayak et al. unless the title names another source; figures for other
pairs of networks are left out.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from keras_zskd.benchmark.suite import Pair, Row, Suite

_CROSS_ENTROPY = "keras_zskd.benchmark.cross_entropy:CrossEntropy"
_OTHER = {"mnist": "fashion_mnist", "fashion_mnist": "mnist"}
_NO_IMPRESSIONS = {"num_impressions": 0}
# Impressions in percent of the 60,000 training images, and epochs that give each the same number of
# student steps.
_CURVE = {1: 1_000, 5: 200, 10: 100, 20: 50, 40: 25}
_TRAINING_IMAGES = 60_000


def _references(dataset: str, pair: str, seeds: int, **published: float) -> list[Row]:
    """Students trained on the full training data."""
    common: dict[str, Any] = {"pair": pair, "data": dataset, "seeds": seeds}
    return [
        Row(
            name=f"student_ce-{pair}",
            title="Student-CE, all data",
            method=_CROSS_ENTROPY,
            published=published.get("student_ce"),
            **common,
        ),
        Row(
            name=f"hinton-{pair}",
            title="Student-KD (Hinton 2015), all data",
            method="hinton",
            published=published.get("hinton"),
            **common,
        ),
        Row(
            name=f"hinton_start-{pair}",
            title="Student-KD, all data, from the teacher's weights",
            method="hinton",
            start="teacher",
            **common,
        ),
    ]


def _best(pair: str, seeds: int) -> list[Row]:
    common: dict[str, Any] = {"method": "best", "pair": pair, "seeds": seeds}
    random = {"start": "random"}
    return [
        Row(name=f"best-{pair}", title="best", **common),
        Row(name=f"best_random-{pair}", title="best, random start", settings=random, **common),
        Row(
            name=f"pictures-{pair}",
            title="pictures alone, from the teacher's weights",
            settings=_NO_IMPRESSIONS,
            **common,
        ),
        Row(
            name=f"pictures_random-{pair}",
            title="pictures alone, random start",
            settings={**_NO_IMPRESSIONS, **random},
            **common,
        ),
    ]


def _impressions(
    pair: str, seeds: int, count: int, published: float | None, **settings: Any
) -> list[Row]:
    """Class impressions and data impressions, in our number and in that of the paper."""
    found = []
    for method, title in (
        ("class_impressions", "Class Impressions (Mopuri 2018)"),
        ("zskd", "Data Impressions (ZSKD 2019)"),
    ):
        common: dict[str, Any] = {"method": method, "pair": pair, "seeds": seeds}
        goal = published if method == "zskd" else None
        found += [
            Row(name=f"{method}-{pair}", title=title, settings=settings, published=goal, **common),
            Row(
                name=f"{method}_{count}-{pair}",
                title=f"{title}, {count:,}",
                settings={"num_impressions": count, **settings},
                counts=("epochs",),
                published=goal,
                **common,
            ),
        ]
    return found


def _paper_settings(pair: str) -> list[Row]:
    """Impressions with the published settings, with which the budget allows only a few."""
    common: dict[str, Any] = {"preset": "paper", "pair": pair, "seeds": 1, "tier": 3}
    titles = {"class_impressions": "Class Impressions", "zskd": "Data Impressions"}
    return [
        Row(
            name=f"{method}_paper-{pair}",
            title=f"{title}, preset paper",
            method=method,
            **common,
        )
        for method, title in titles.items()
    ]


def _transfer_sets(pair: str, seeds: int, other: str) -> list[Row]:
    common: dict[str, Any] = {"method": "transfer_set", "pair": pair, "seeds": seeds}
    return [
        Row(name=f"noise-{pair}", title="noise, balanced classes", **common),
        Row(
            name=f"{other}-{pair}",
            title=f"{other} as transfer set (WACV 2021)",
            settings={"inputs": "dataset"},
            data=other,
            **common,
        ),
    ]


def _generators(pair: str, seeds: int, **published: float) -> list[Row]:
    """Methods with a generator network that is trained against the teacher."""
    common: dict[str, Any] = {"pair": pair, "seeds": seeds, "tier": 2}
    same_batch = {"fresh_noise": False, "student_steps": 10}
    return [
        Row(
            name=f"{method}-{pair}",
            title=title,
            method=method,
            published=published.get(method),
            **common,
        )
        for method, title in (
            ("dafl", "DAFL (Chen 2019)"),
            ("dfad", "DFAD (Fang 2019)"),
            ("zskt", "ZSKT (Micaelli 2019), a fresh batch for each student step"),
        )
    ] + [
        Row(
            name=f"zskt_same_batch-{pair}",
            title="ZSKT, ten student steps on one batch",
            method="zskt",
            settings=same_batch,
            **common,
        )
    ]


def _soft_targets(pair: str, published: float | None = None) -> Row:
    return Row(
        name=f"soft_targets-{pair}",
        title="soft-targeted transfer set (Wang 2021)",
        method="soft_targets",
        pair=pair,
        published=published,
        tier=3,
        seeds=1,
    )


def _batch_normalization(pair: str) -> list[Row]:
    """Methods for teachers with batch normalization."""
    common: dict[str, Any] = {"pair": pair, "tier": 3, "seeds": 1}
    rounds = {"rounds": 4}
    inversion = "deepinversion"
    return [
        Row(
            name=f"{inversion}-{pair}", title="DeepInversion (Yin 2020)", method=inversion, **common
        ),
        Row(
            name=f"{inversion}_adaptive-{pair}",
            title="Adaptive DeepInversion, four rounds",
            method=inversion,
            settings=rounds,
            **common,
        ),
        Row(
            name=f"nayer-{pair}",
            title="replay pool, generators that are reinitialized (Tran 2024)",
            method="nayer",
            **common,
        ),
    ]


_HALF: dict[str, Any] = {
    "title": "LeNet-5 (61,706 parameters) to LeNet-5-Half (35,820)",
    "teacher": "lenet5",
    "student": "lenet5-half",
}
_HALF_OF_ALL: dict[str, Any] = {
    "title": "LeNet-5 (61,706 parameters) to a half of all layers (15,738)",
    "teacher": "lenet5",
    "student": "lenet5-half-dafl",
}


def _lenet5(
    dataset: str, title: str, count: int, generators: Mapping[str, float], **published: float
) -> Suite:
    """LeNet-5 on MNIST or Fashion-MNIST."""
    teacher = published.get("teacher")
    kimura = Row(
        name="kimura-half",
        title="Kimura 2018, 200 images",
        method="kimura",
        pair="half",
        data=dataset,
        published=published.get("kimura"),
        tier=2,
    )
    lopes = [
        Row(
            name=f"lopes_{layers}-half",
            title=f"Lopes 2017, {title}",
            method="lopes",
            settings={"layers": layers},
            pair="half",
            published=published.get(f"lopes_{layers}"),
            tier=tier,
            seeds=seeds,
        )
        for layers, title, tier, seeds in (
            ("top", "top layer", 2, 3),
            ("all", "all layers", 2, 3),
            ("spectral", "spectral modes", 3, 1),
        )
    ]
    return Suite(
        name=dataset,
        title=title,
        dataset=dataset,
        budget=9e6,
        minutes=4.0,
        teachers={"lenet5": {"epochs": 20}},
        pairs={
            "half": Pair(**_HALF, published=teacher),
            "quarter": Pair(**_HALF_OF_ALL),
        },
        rows=(
            *_references(dataset, "half", 3, **published),
            *_impressions("half", 3, count, published.get("zskd")),
            *_transfer_sets("half", 3, _OTHER[dataset]),
            *_best("half", 3),
            *_generators("half", 3),
            kimura,
            *lopes,
            _soft_targets("half", published.get("soft_targets")),
            *_paper_settings("half"),
            *_references(dataset, "quarter", 3)[:2],
            *_best("quarter", 3)[:1],
            *_generators("quarter", 3, **generators)[:2],
        ),
    )


_CIFAR10 = Suite(
    name="cifar10",
    title="CIFAR-10",
    dataset="cifar10",
    budget=3.2e6,
    minutes=40.0,
    teachers={
        "alexnet": {"epochs": 14, "horizontal_flip": True},
        "resnet20": {
            "epochs": 24,
            "horizontal_flip": True,
            "translation": 0.125,
            "optimizer": "sgd",
        },
    },
    pairs={
        "alexnet": Pair(
            title="AlexNet (1,659,178 parameters) to AlexNet-Half (417,434)",
            teacher="alexnet",
            student="alexnet-half",
            published=83.03,
        ),
        "resnet20": Pair(
            title="ResNet-20 (272,474 parameters) to half its width",
            teacher="resnet20",
            student=0.5,
        ),
    },
    rows=(
        *_references("cifar10", "alexnet", 1, student_ce=80.04, hinton=80.08),
        # Fewer steps than the default, so that the paper's number of impressions fits into the
        # budget.
        *_impressions("alexnet", 1, 40_000, 69.56, synthesis_steps=20),
        *_best("alexnet", 1),
        *_references("cifar10", "resnet20", 1),
        *_best("resnet20", 1),
        *_generators("resnet20", 1),
        *_batch_normalization("resnet20"),
        _soft_targets("alexnet", 73.91),
    ),
)


def _curve() -> Suite:
    """Class impressions and data impressions in different numbers, with equal training."""
    rows = [
        Row(
            name=f"{method}-{percent}",
            title=f"{title}, {percent} %",
            method=method,
            settings={"num_impressions": percent * _TRAINING_IMAGES // 100, "epochs": epochs},
            counts=(),
            pair="half",
            x=float(percent),
        )
        for percent, epochs in _CURVE.items()
        for method, title in (
            ("class_impressions", "Class Impressions"),
            ("zskd", "Data Impressions"),
        )
    ]
    return Suite(
        name="mnist_curve",
        title="MNIST, by number of impressions",
        dataset="mnist",
        budget=3.6e6,
        minutes=1.5,
        teachers={"lenet5": {"epochs": 20}},
        pairs={"half": Pair(**_HALF, published=99.34)},
        rows=tuple(rows),
    )


SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            _lenet5(
                "mnist",
                "MNIST",
                24_000,
                {"dafl": 98.20, "dfad": 98.3},
                teacher=99.34,
                student_ce=98.92,
                hinton=99.25,
                zskd=98.77,
                kimura=86.70,
                lopes_top=77.30,
                lopes_all=85.61,
                lopes_spectral=90.28,
                soft_targets=99.08,
            ),
            _lenet5(
                "fashion_mnist",
                "Fashion-MNIST",
                48_000,
                {},
                teacher=90.84,
                student_ce=89.43,
                hinton=89.66,
                zskd=79.62,
                kimura=72.50,
            ),
            _CIFAR10,
            _curve(),
        )
    }
)
