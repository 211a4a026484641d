"""Rules of `slim` for recurrent layers."""

from keras import layers

from keras_zskd.models.slimming.calls import Axes, Call
from keras_zskd.models.slimming.channels import Channels, fixed, pin, tie, total

RECURRENT = (
    layers.LSTM, layers.GRU, layers.SimpleRNN, layers.ConvLSTM1D, layers.ConvLSTM2D,
    layers.ConvLSTM3D, layers.Bidirectional,
)  # fmt: skip


def recurrent(call: Call) -> list[Axes]:
    """Rule of LSTM, GRU, SimpleRNN and ConvLSTM: units or filters shrink, time and pixels do not."""
    name = "filters" if hasattr(call.op, "filters") else "units"
    made = call.make(name, getattr(call.op, name))
    for state in call.inputs[1:]:
        tie(state[_place(call, len(state))], made)
    return [_output(call, shape, made) for shape in call.shapes]


def bidirectional(call: Call) -> list[Axes]:
    """Rule of `Bidirectional`: both directions shrink alike."""
    forward, backward = (
        call.wrapped(name, layer, call.inputs[:1], call.shapes[:1])
        for name, layer in (
            ("layer", call.op.forward_layer),
            ("backward_layer", call.op.backward_layer),
        )
    )
    name = "filters" if hasattr(call.op.forward_layer, "filters") else "units"
    made = [one.make(name, getattr(one.op, name)) for one in (forward, backward)]
    if call.op.return_state or len(call.inputs) > 1:
        for axis in made:
            pin(axis)
        return [tuple(fixed(size) for size in shape) for shape in call.shapes]
    if call.op.merge_mode is None:
        pairs = zip(call.shapes, made, strict=True)
        return [_output(forward, shape, axis) for shape, axis in pairs]
    if call.op.merge_mode != "concat":
        tie(*made)
    merged = total(made) if call.op.merge_mode == "concat" else made[0]
    return [_output(forward, shape, merged) for shape in call.shapes]


def _place(call: Call, rank: int) -> int:
    """Return the position of the channels in an input, an output or a state."""
    if getattr(call.op, "data_format", None) != "channels_first":
        return rank - 1
    return rank - len(call.op.kernel_size) - 1


def _output(call: Call, shape: tuple[int | None, ...], made: Channels) -> Axes:
    place = _place(call, len(shape))
    return tuple(made if i == place else fixed(size) for i, size in enumerate(shape))
