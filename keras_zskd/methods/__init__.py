"""One file per system of the literature; each reads like its paper."""

from keras_zskd.errors import InputError
from keras_zskd.methods.class_impressions import CLASS_IMPRESSIONS
from keras_zskd.methods.hinton import HINTON
from keras_zskd.methods.method import Method, Recipe
from keras_zskd.methods.zskd import ZSKD

METHODS = {method.name: method for method in (ZSKD, CLASS_IMPRESSIONS, HINTON)}


def get_recipe(name: str, preset: str = "default") -> Recipe:
    """The recipe of a method.

    Raises:
        InputError: If there is no such method or preset.
    """
    if name not in METHODS:
        raise InputError(f"Method {name!r} was received; expected one of {', '.join(METHODS)}.")
    presets = METHODS[name].presets
    if preset not in presets:
        raise InputError(f"Preset {preset!r} was received; expected one of {', '.join(presets)}.")
    return presets[preset]


__all__ = ["METHODS", "Method", "Recipe", "get_recipe"]
