"""Methods of the literature by name; each file follows its paper."""

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.own_modules import import_own
from keras_zskd.methods.best import Best
from keras_zskd.methods.class_impressions import ClassImpressions
from keras_zskd.methods.dafl import DAFL
from keras_zskd.methods.deepinversion import DeepInversion
from keras_zskd.methods.dfad import DFAD
from keras_zskd.methods.hinton import Hinton
from keras_zskd.methods.kimura import Kimura
from keras_zskd.methods.lopes import Lopes
from keras_zskd.methods.method import Method
from keras_zskd.methods.nayer import NAYER
from keras_zskd.methods.soft_targets import SoftTargets
from keras_zskd.methods.transfer_set import ArbitraryTransferSet
from keras_zskd.methods.zskd import ZSKD
from keras_zskd.methods.zskt import ZSKT

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        *(Best, ZSKD, ClassImpressions, SoftTargets, DeepInversion),  # No data.
        *(DAFL, DFAD, ZSKT, NAYER),
        *(Lopes, ArbitraryTransferSet, Kimura, Hinton),  # Some, or all.
    )
}


def get_method(name: str) -> type[Method]:
    """Return the class of a method: a name of `METHODS`, or a custom "package.module:Class".

    Raises:
        InputError: If there is no such method.
    """
    if name in METHODS:
        return METHODS[name]
    module, _, kind = name.partition(":")
    if not kind:
        raise invalid("method", f"be one of {', '.join(METHODS)}, or package.module:Class", name)
    try:
        found = getattr(import_own(module), kind)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"`method` must name a class that can be imported. Received: method={name!r} ({error})."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise invalid("method", "name a subclass of keras_zskd.Method", name)
    return found


def as_method(method: str | Method) -> Method:
    """Return a method object unchanged, or the method of this name with its default settings."""
    return get_method(method)() if isinstance(method, str) else method


__all__ = ["METHODS", "Method", "as_method", "get_method"]
