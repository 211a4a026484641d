"""Convert the outputs of a file to logits, whatever activation it ends in."""

import numpy as np


def logits_of(
    outputs: np.ndarray, scale: float = 0.0, zero_point: int = 0, is_multi_label: bool = False
) -> np.ndarray:
    """Return logits `(N, K)`, float32: a softmax or a sigmoid is recognized by its values and inverted.

    Args:
        outputs: `(N, K)`, or `(N, 1)` for two classes: a sigmoid, or the logit of the second one.
            Here and in a multi-label file, logits that are all in [0, 1] would be mistaken for
            sigmoids.
        scale: Quantization scale of the outputs; 0 if they are not quantized.
        zero_point: Quantization zero point of the outputs.
        is_multi_label: Whether they are of labels that do not exclude each other.
    """
    in_range = bool(np.all((outputs >= 0.0) & (outputs <= 1.0 + 1e-5)))
    if scale:
        # LiteRT fixes these two numbers for an 8-bit softmax or sigmoid. Zero becomes half a step.
        is_probability = scale == 1.0 / 256.0 and zero_point in (-128, 0)
        smallest = scale / 2.0
    else:
        is_one = (
            is_multi_label
            or outputs.shape[-1] == 1
            or np.allclose(outputs.sum(axis=1), 1.0, atol=1e-4)
        )
        is_probability = in_range and is_one
        smallest = float(np.finfo(np.float32).tiny)
    if is_multi_label:
        absent, present = (np.log(np.maximum(p, smallest)) for p in (1.0 - outputs, outputs))
        return present - absent if is_probability else outputs
    if outputs.shape[-1] > 1:
        return np.log(np.maximum(outputs, smallest)) if is_probability else outputs
    if is_probability:
        both = np.concatenate([1.0 - outputs, outputs], axis=-1)
        return np.log(np.maximum(both, smallest))
    return np.concatenate([-0.5 * outputs, 0.5 * outputs], axis=-1)
