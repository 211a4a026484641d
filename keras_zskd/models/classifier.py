"""What a model must be to serve as a teacher or a student."""

from typing import Any

import keras

from keras_zskd.core.errors import InputError


def check_classifier(model: Any, role: str, loss: str | None = None) -> None:
    """Check that a model is a Keras classifier with a graph, one input and one output.

    Args:
        model: The model to check.
        role: "teacher" or "student", for the error message.
        loss: Name of the loss. Defaults to that of `model`; a converted model has none.

    Raises:
        InputError: If it is not, with the reason and the fix.
    """
    if not isinstance(model, keras.Model):
        raise InputError(
            f"`{role}` must be a Keras model or the path of a .keras file. Received: an object of "
            f"type {type(model).__name__}."
        )
    if not model.built:
        raise InputError(
            f"`{role}` must be built. Received: {role}={model.name!r}, which is not built. Start "
            "the model with keras.Input(shape)."
        )
    check_layers(model, role)
    if not has_graph(model):
        raise InputError(
            f"`{role}` must be a Functional or Sequential model. Received: {role}={model.name!r}, "
            "a subclassed model without a graph. Wrap it: keras.Model(inputs, model(inputs))."
        )
    inputs, outputs = model.inputs, model.outputs
    for tensors, what in ((inputs, "inputs"), (outputs, "outputs")):
        if len(tensors) != 1:
            raise InputError(
                f"`{role}` must have one input and one output. Received: {role}={model.name!r} "
                f"with {len(tensors)} {what}. Make a keras.Model with only one of them."
            )
    if None in inputs[0].shape[1:]:
        raise InputError(
            f"`{role}` must have a fixed input shape. Received: {role}={model.name!r} with the "
            f"dynamic input shape {inputs[0].shape}. "
            + (
                "Set `input_shape` to the shape of one input, such as (32, 32, 3)."
                if role == "teacher"
                else "Rebuild it with all sizes in keras.Input."
            )
        )
    if inputs[0].dtype == "string":
        raise _reads_text(model, role, "inputs of type string")
    shape = outputs[0].shape
    if len(shape) != 2 or not shape[-1]:
        raise InputError(
            f"`{role}` must be a classifier with outputs of shape (batch, classes), or "
            f"(batch, 1) for two classes. Received: {role}={model.name!r} with outputs of shape "
            f"{shape}."
        )
    loss = loss_name(model) if loss is None else loss
    if loss in _OTHER_LOSSES:
        raise InputError(
            f"`{role}` must be a classifier. Received: {role}={model.name!r} compiled with the loss "
            f"{loss!r} of a regressor."
        )


_OTHER_LOSSES = {
    "mse", "mean_squared_error", "mae", "mean_absolute_error", "huber", "huber_loss", "log_cosh",
}  # fmt: skip
_BINARY_LOSSES = {"binary_crossentropy", "binary_focal_crossentropy"}
_OF_TEXT = (
    keras.layers.Embedding,
    keras.layers.TextVectorization,
    keras.layers.StringLookup,
)
# These are step functions, without gradients: inputs cannot be optimized through them.
_WITHOUT_GRADIENTS = (
    keras.layers.Hashing,
    keras.layers.HashedCrossing,
    keras.layers.IntegerLookup,
    keras.layers.Discretization,
    keras.layers.CategoryEncoding,
)


def loss_name(model: Any) -> str:
    """Return the name of the loss that a model is compiled with, or an empty string."""
    loss = getattr(model, "loss", None)
    return str(getattr(loss, "name", getattr(loss, "__name__", loss)) or "")


def is_binary_loss(name: str) -> bool:
    """Whether a loss is a binary one, for several labels or one of two classes."""
    return name in _BINARY_LOSSES


def has_graph(model: Any) -> bool:
    """Whether a model has symbolic inputs and outputs."""
    try:
        return bool(model.inputs and model.outputs)
    except (AttributeError, ValueError):
        return False


def check_layers(model: keras.Model, role: str) -> None:
    """Check the layers of a model and its nested models for those that no method supports.

    Args:
        model: A built model.
        role: "teacher" or "student", for the error message.

    Raises:
        InputError: If there is one: an embedding or a lookup, a quantized layer, a lambda.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            check_layers(layer, role)
        elif isinstance(layer, _OF_TEXT):
            raise _reads_text(model, role, f"a layer of type {type(layer).__name__}")
        elif isinstance(layer, _WITHOUT_GRADIENTS):
            raise InputError(
                f"`{role}` must have outputs that depend smoothly on its inputs. Received: {role}="
                f"{model.name!r} with layer {layer.name!r} of type {type(layer).__name__}. Pass the "
                "part of the model after this layer."
            )
        elif getattr(layer, "quantization_mode", None):
            raise InputError(
                f"`{role}` must have floating-point weights. Received: {role}={model.name!r} with "
                f"layer {layer.name!r} quantized to {layer.quantization_mode}. Pass the model as it "
                "was before model.quantize()."
            )
        elif getattr(getattr(layer, "activation", None), "__name__", "") == "<lambda>":
            raise InputError(
                f"`{role}` must not have a lambda as an activation, which cannot be copied. "
                f"Received: {role}={model.name!r} with layer {layer.name!r}. Use a named function."
            )


def _reads_text(model: keras.Model, role: str, what: str) -> InputError:
    return InputError(
        f"`{role}` must take numbers that can be varied continuously, such as pixels, signals or "
        f"table columns. Received: {role}={model.name!r} with {what}, a classifier of text or tokens, "
        "for which no method here makes inputs. Pass the part of the model after its embedding."
    )
