"""A run in the format of `run.json`, with a few impressions."""

import numpy as np
import pytest


@pytest.fixture
def run():
    """The record of a finished run of three classes."""
    return {
        "keras_zskd": "0.1.0",
        "tensorflow": "2.21.0",
        "keras": "3.15.1",
        "python": "3.11.2",
        "machine": "x86_64, 2 cores",
        "format": 2,
        "request": {
            "method": {"name": "zskd", "config": {"scales": [1.0, 0.1]}},
            "seed": 7,
            "teacher": {
                "name": "lenet5", "input_shape": [8, 8, 1], "input_range": [0.0, 1.0],
                "num_classes": 3, "ends_in": "logits", "parameters": 61706,
            },
            "student": {"parameters": 35820},
        },
        "class_names": ["cat", "dog <b>", "a|b"],
        "origin": {
            "inputs": "impressions", "uses_data": False,
            "text": "They are synthetic. 24,000 impressions; no original data was read.",
        },
        "stages": {
            "impressions": {
                "kind": "synthesis", "num_impressions": 24000, "seconds": 83.4,
                "config": {"temperature": 2.0, "priors": [
                    {"class_name": "TotalVariation", "config": {"weight": 0.01}}]},
            },
            "training": {
                "kind": "training",
                "config": {"epochs": 3},
                "history": {"loss": [2.0, 1.0, 0.5], "held_out_agreement": [0.7, 0.8, 0.9],
                            "learning_rate": [0.1, 0.01, 0.001]},
                "seconds": 9.0,
            },
            "export": {"kind": "export", "seconds": 5.0},
        },
        "files": {"LiteRT int8": {"file": "student_int8.tflite", "bytes": 44321,
                                  "agreement": 0.991, "num_checked": 1000}},
        "results": {
            "measured_on": "mnist (test, 10000 images, used to measure only)",
            "rows": [
                {"model": "teacher", "accuracy": 0.9912, "agreement": 1.0, "parameters": 61706,
                 "bytes": 248000, "ms_per_image": 0.31},
                {"model": "student", "accuracy": 0.9861, "agreement": 0.9934, "parameters": 35820,
                 "bytes": 143840, "ms_per_image": 0.12},
                {"model": "student int8", "accuracy": None, "agreement": 0.9921,
                 "parameters": 35820, "bytes": 44321, "ms_per_image": 0.0456},
            ],
        },
    }  # fmt: skip


@pytest.fixture
def impressions():
    """Twelve impressions of three classes; the teacher predicts the target class of all but one."""
    rng = np.random.default_rng(0)
    label = np.arange(12) % 3
    logits = 6.0 * np.eye(3)[label]
    logits[-1] = [6.0, 0.0, 0.0]
    return {
        "image": rng.uniform(size=(12, 8, 8, 1)).astype(np.float32),
        "target": np.eye(3, dtype=np.float32)[label],
        "label": label,
        "logits": logits.astype(np.float32),
        "gap": rng.uniform(0.0, 0.2, 12).astype(np.float32),
    }
