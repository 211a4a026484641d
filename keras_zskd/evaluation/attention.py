"""Attention maps: class activation maps of several models on the same images."""

import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.keras_internals import nodes_of
from keras_zskd.models.graph import typed_copy
from keras_zskd.models.logits import logits_view

_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)
_BATCH_SIZE = 64


def attention_maps(
    models: Mapping[str, keras.Model], images: Any, classes: Any
) -> dict[str, np.ndarray]:
    """Compute maps of the pixels that each model uses as evidence for a class.

    Uses Grad-CAM++ on the last convolution with spatial output; for a model without one, the
    saliency map, which is the gradient with respect to the pixels. Both are computed from the
    logits: the gradient of a softmax vanishes for confident predictions, as on impressions.

    Args:
        models: Keras classifiers by name, with one input shape, ending in logits or softmax.
        images: `(N, H, W, C)` in the pixel range of the models.
        classes: Integers `(N,)`, the class to explain on each image, or one class for all.

    Returns:
        Dict from name to a float32 array `(N, H, W)` in [0, 1]. Each map is scaled to that range.
        It is all zeros if the image has no evidence for the class.

    Raises:
        InputError: If shapes or classes do not match, or tf-keras-vis is not installed.

    References:
        Chattopadhay et al., "Grad-CAM++", WACV 2018.
        Simonyan et al., "Deep Inside Convolutional Networks", 2014 (saliency).
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or not len(images):
        raise InputError(
            "`images` must have shape (images, height, width, channels), with at least one image. "
            f"Received: images of shape {images.shape}."
        )
    classes = np.asarray(classes)
    if classes.ndim == 0:
        classes = np.full(len(images), classes)
    if classes.shape != images.shape[:1] or not np.issubdtype(classes.dtype, np.integer):
        raise InputError(
            f"`classes` must be one integer for each image. Received: classes of shape "
            f"{classes.shape} and type {classes.dtype} for {len(images)} images."
        )
    return {name: _maps_of(name, model, images, classes) for name, model in models.items()}


def _maps_of(name: str, model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    # float32: the gradients of a float16 model underflow long before its outputs do.
    view = logits_view(typed_copy(model)).model
    if tuple(view.input_shape[1:]) != images.shape[1:]:
        raise InputError(
            f"`images` must match the inputs of model {name!r}, of shape "
            f"{tuple(view.input_shape[1:])}. Received: images of shape {images.shape[1:]}."
        )
    num_classes = view.output_shape[-1]
    if classes.min() < 0 or classes.max() >= num_classes:
        raise InputError(
            f"`classes` must be from 0 to {num_classes - 1} for model {name!r} with {num_classes} "
            f"classes. Received: classes from {classes.min()} to {classes.max()}."
        )
    maps = []
    for start in range(0, len(images), _BATCH_SIZE):
        batch = slice(start, start + _BATCH_SIZE)
        maps.append(_explain(view, images[batch], classes[batch]))
    return _stretched(np.concatenate(maps))


def _explain(view: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """One batch of maps `(N, H, W)` from tf-keras-vis, not normalized."""

    def score(logits: tf.Tensor) -> tf.Tensor:
        logit = tf.gather(logits, tf.constant(classes, tf.int64), batch_dims=1)
        # Grad-CAM++ computes exp(score), which overflows for logits above 88. Scaling the map to
        # [0, 1] removes constant factors, so the score is shifted to 0, with the same gradient.
        return logit - tf.stop_gradient(logit)

    with warnings.catch_warnings():
        # tf-keras-vis 0.8.7 imports a deprecated SciPy name and passes a list for a single input.
        warnings.simplefilter("ignore")
        try:
            from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
            from tf_keras_vis.saliency import Saliency
        except ImportError as error:
            raise InputError(
                f"Attention maps need the package tf-keras-vis, which could not be imported "
                f"({error}). Install it with `pip install tf-keras-vis`."
            ) from error
        tap = _last_map(view)
        if tap is None:
            return np.asarray(Saliency(view)(score, images, normalize_map=False))
        return np.asarray(
            GradcamPlusPlus(view)(
                score,
                images,
                penultimate_layer=_Tap(tap),
                seek_penultimate_conv_layer=False,
                normalize_cam=False,
            )
        )


class _Tap(keras.layers.Layer):
    """Wraps a tensor of a graph as a layer for tf-keras-vis.

    tf-keras-vis reads `layer.output`, the output of the first call of the layer. If a view shares
    its layers with another model, this is a tensor of the other model.
    """

    def __init__(self, tensor: Any):
        super().__init__()
        self._tensor = tensor

    @property
    def output(self) -> Any:
        return self._tensor


def _last_map(view: keras.Model) -> Any:
    """Output of the last convolution with more than one position, or None.

    The third convolution of LeNet-5 has a 1x1 output: its map would be constant over the image.
    """
    for node in reversed(nodes_of(view)):
        if isinstance(node.operation, _CONVOLUTIONS):
            tensor = node.outputs[0]
            height, width = tensor.shape[1:3]
            if height > 1 or width > 1:
                return tensor
    return None


def _stretched(maps: np.ndarray) -> np.ndarray:
    """Scale each map to [0, 1]; in float64, since untrained models have gradients near 1e-8."""
    maps = np.nan_to_num(np.asarray(maps, np.float64), posinf=0.0, neginf=0.0)
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    flat = span <= 0.0
    return np.where(flat, 0.0, (maps - low) / np.where(flat, 1.0, span)).astype(np.float32)
