"""`GaussianProcesses`: the reference of Kimura et al., classifiers fitted to a few images."""

import math
import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError


class GaussianProcesses:
    """One differentiable Gaussian process classifier per class, with an RBF kernel.

    scikit-learn fits class k against the rest by the Laplace approximation, with the amplitude and
    length scale of the kernel that maximize the marginal likelihood. The predictions are computed
    by TensorFlow, because pseudo-examples ascend their gradient (Rasmussen and Williams, 2006,
    section 3.4):

    `m_k(x) = k(x, X) (t_k - pi_k)` and `v_k(x) = k(x, x) - |L_k^-1 W_k^(1/2) k(X, x)|^2`

    are the mean and variance of the latent function at x, given the images X with labels `t_k` in
    {0, 1}. The probability of class k is `sigmoid(m_k / sqrt(1 + pi v_k / 8))` (MacKay, 1992),
    divided by the sum over the classes.

    Args:
        arrays: The result of `fitted`.
    """

    def __init__(self, arrays: dict[str, np.ndarray]):
        self._images = tf.constant(arrays["images"], tf.float64)
        self._amplitude = tf.constant(arrays["amplitude"], tf.float64)
        self._length = tf.constant(arrays["length"], tf.float64)
        self._slope = tf.constant(arrays["slope"], tf.float64)
        self._root = tf.constant(arrays["root"], tf.float64)
        self._cholesky = tf.constant(arrays["cholesky"], tf.float64)

    def latent(self, x: Any) -> tuple[Any, Any]:
        """Return means and variances `(N, K)` of the latent functions at `x` `(N, *input_shape)`."""
        flat = tf.cast(tf.reshape(x, (tf.shape(x)[0], -1)), tf.float64)
        squares = tf.reduce_sum(flat**2, -1)[:, None] + tf.reduce_sum(self._images**2, -1)
        distance = tf.maximum(squares - 2.0 * flat @ tf.transpose(self._images), 0.0)
        scale = self._length[:, None, None]
        kernel = self._amplitude[:, None, None] * tf.exp(-distance / (2.0 * scale**2))  # (K, N, M)
        mean = tf.einsum("knm,km->nk", kernel, self._slope)
        weighted = tf.transpose(kernel * self._root[:, None], (0, 2, 1))
        solved = tf.linalg.triangular_solve(self._cholesky, weighted)
        variance = self._amplitude - tf.transpose(tf.reduce_sum(solved**2, axis=1))
        return mean, tf.maximum(variance, 0.0)

    def __call__(self, x: Any) -> Any:
        """Return logits `(N, K)` float32: the logarithms of the class probabilities."""
        mean, variance = self.latent(x)
        logits = tf.math.log_sigmoid(mean / tf.sqrt(1.0 + math.pi * variance / 8.0))
        return tf.cast(tf.nn.log_softmax(logits), tf.float32)

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return logits `(N, K)` and the mean standard deviation `(N,)` of the latent functions."""
        parts = [images[i : i + 512] for i in range(0, len(images), 512)]
        logits = np.concatenate([self(part) for part in parts])
        deviation = [tf.reduce_mean(tf.sqrt(self.latent(part)[1]), axis=-1) for part in parts]
        return logits, np.concatenate(deviation).astype(np.float32)


def fitted(images: np.ndarray, labels: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """Fit a Gaussian process classifier per class; return the arrays for `GaussianProcesses`.

    Args:
        images: `(M, *input_shape)`.
        labels: Classes `(M,)`, each at least once.
        num_classes: Number of classes `K`.

    Raises:
        InputError: If a class has no image.
    """
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    counts = np.bincount(labels, minlength=num_classes)
    if not counts.all():
        raise InputError(
            f"`labels` must be of each of the {num_classes} classes. Received: {counts.tolist()} "
            "images of the classes. Use more images."
        )
    flat = images.reshape(len(images), -1).astype(np.float64)
    squares = (flat**2).sum(-1)
    distances = np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0.0)
    length = float(np.sqrt(np.median(distances[np.triu_indices(len(flat), 1)])))
    found: dict[str, list[Any]] = {"amplitude": [], "length": [], "slope": [], "root": []}
    found["cholesky"] = []
    for label in range(num_classes):
        kernel = ConstantKernel(1.0, (1e-2, 1e3)) * RBF(length, (0.1 * length, 10.0 * length))
        with warnings.catch_warnings():  # An optimum at a bound is as good as any other.
            warnings.simplefilter("ignore")
            one = GaussianProcessClassifier(kernel).fit(flat, labels == label).base_estimator_
        found["amplitude"].append(one.kernel_.k1.constant_value)
        found["length"].append(one.kernel_.k2.length_scale)
        found["slope"].append(one.y_train_ - one.pi_)
        found["root"].append(one.W_sr_)
        found["cholesky"].append(one.L_)
    return {"images": flat, **{name: np.stack(values) for name, values in found.items()}}
