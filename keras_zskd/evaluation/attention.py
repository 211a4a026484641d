"""Where teacher and student look: class activation maps of several models on the same images."""

import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.keras_internals import nodes_of
from keras_zskd.models.graph import logits_view, typed_copy

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
    """Which pixels speak for a class, in the eyes of each model.

    Grad-CAM++ on the last convolution whose output still has a place for every region; for a model
    without one, the saliency map, that is the gradient by the pixels. Both are taken of the logits:
    the gradient of a softmax vanishes where a model is sure, which impressions are made to be.

    Args:
        models: Keras classifiers by name, of one input shape, ending in logits or softmax.
        images: `(N, H, W, C)` in the pixel range of the models.
        classes: `(N,)` integers, the class to explain on each image, or one for all.

    Returns:
        For each name a float32 array `(N, H, W)` in [0, 1], each map stretched over that range; all
        zeros where nothing on the image speaks for the class.

    Raises:
        InputError: If shapes or classes do not fit, or tf-keras-vis is not installed.

    References:
        Chattopadhay et al., "Grad-CAM++", WACV 2018.
        Simonyan et al., "Deep Inside Convolutional Networks", 2014 (saliency).
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or not len(images):
        raise InputError(
            f"Images of shape {images.shape} were received; expected (images, height, width, "
            "channels), with one image at least."
        )
    classes = np.asarray(classes)
    if classes.ndim == 0:
        classes = np.full(len(images), classes)
    if classes.shape != images.shape[:1] or not np.issubdtype(classes.dtype, np.integer):
        raise InputError(
            f"classes of shape {classes.shape} and type {classes.dtype} were received for "
            f"{len(images)} images; expected one integer for each."
        )
    return {name: _maps_of(name, model, images, classes) for name, model in models.items()}


def _maps_of(name: str, model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    # float32: the gradients of a float16 model underflow long before its answers do.
    view = logits_view(typed_copy(model)).model
    if tuple(view.input_shape[1:]) != images.shape[1:]:
        raise InputError(
            f"Images of shape {images.shape[1:]} were received, but model {name!r} takes "
            f"{tuple(view.input_shape[1:])}; show it images of its own size."
        )
    num_classes = view.output_shape[-1]
    if classes.min() < 0 or classes.max() >= num_classes:
        raise InputError(
            f"classes from {classes.min()} to {classes.max()} were received, but model {name!r} "
            f"has {num_classes}; expected 0 to {num_classes - 1}."
        )
    maps = []
    for start in range(0, len(images), _BATCH_SIZE):
        batch = slice(start, start + _BATCH_SIZE)
        maps.append(_explain(view, images[batch], classes[batch]))
    return _stretched(np.concatenate(maps))


def _explain(view: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """One batch of maps `(N, H, W)` from tf-keras-vis, not normalised."""

    def score(logits: tf.Tensor) -> tf.Tensor:
        logit = tf.gather(logits, tf.constant(classes, tf.int64), batch_dims=1)
        # Grad-CAM++ takes exp(score), which overflows for logits above 88. Any constant factor goes
        # when the map is stretched over [0, 1], so the score is shifted to 0, gradient unchanged.
        return logit - tf.stop_gradient(logit)

    with warnings.catch_warnings():
        # tf-keras-vis 0.8.7 imports SciPy by an old name and hands Keras 3 a list for one input.
        warnings.simplefilter("ignore")
        try:
            from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
            from tf_keras_vis.saliency import Saliency
        except ImportError as error:
            raise InputError(
                f"Attention maps need the package tf-keras-vis, which could not be imported "
                f"({error}); install it with `pip install tf-keras-vis`."
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
    """Names a tensor of a graph where tf-keras-vis asks for a layer.

    It reads `layer.output`, which is the output of the layer's first call. In a view that shares
    its layers with another model that is a tensor of the other model.
    """

    def __init__(self, tensor: Any):
        super().__init__()
        self._tensor = tensor

    @property
    def output(self) -> Any:
        return self._tensor


def _last_map(view: keras.Model) -> Any:
    """Output of the last convolution that has more than one place, or None.

    LeNet-5's third convolution leaves 1x1: its map would say the same of every pixel.
    """
    for node in reversed(nodes_of(view)):
        if isinstance(node.operation, _CONVOLUTIONS):
            tensor = node.outputs[0]
            height, width = tensor.shape[1:3]
            if height > 1 or width > 1:
                return tensor
    return None


def _stretched(maps: np.ndarray) -> np.ndarray:
    """Each map over [0, 1]; in float64, because untrained models have gradients near 1e-8."""
    maps = np.nan_to_num(np.asarray(maps, np.float64), posinf=0.0, neginf=0.0)
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    flat = span <= 0.0
    return np.where(flat, 0.0, (maps - low) / np.where(flat, 1.0, span)).astype(np.float32)
