import math

import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.models.lowering.blocked import (
    BlockConvolution,
    Blocked,
    average_pool,
    max_pool,
    positions,
)


def _maps(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _blocked(maps, block):
    """`(N, H, W, C)` in blocks, pixel by pixel, as in the docstring of `Blocked`."""
    n, height, width, channels = maps.shape
    values = np.empty((n, height // block, width // block, block**2 * channels), maps.dtype)
    for y in range(height):
        for x in range(width):
            # (y mod 2, x mod 2) first, then (y // 2, x // 2) likewise: lowest bits first.
            number, inner_y, inner_x, left = 0, y % block, x % block, block
            while left > 1:
                number = 4 * number + 2 * (inner_y % 2) + inner_x % 2
                inner_y, inner_x, left = inner_y // 2, inner_x // 2, left // 2
            channel = slice(number * channels, (number + 1) * channels)
            values[:, y // block, x // block, channel] = maps[:, y, x]
    return values


def _padding(padding, kernel, stride, size):
    """Leading zeros and output size of one axis, by the definition of "same" and "valid"."""
    if padding == "valid":
        return 0, (size - kernel) // stride + 1
    out = math.ceil(size / stride)
    return max((out - 1) * stride + kernel - size, 0) // 2, out


def _convolution(images, kernel, upstream, stride, padding, size):
    """Convolution, and gradients of `sum(upstream * result)` by image and kernel, in float64."""
    images, kernel, upstream = (np.asarray(a, "float64") for a in (images, kernel, upstream))
    n, height, width, channels = images.shape
    width_of_kernel, features = kernel.shape[0], kernel.shape[-1]
    # Sufficient space on every side.
    room = stride * max(size) + width_of_kernel
    padded = np.zeros((n, height + 2 * room, width + 2 * room, channels))
    inside = (slice(None), slice(room, room + height), slice(room, room + width))
    padded[inside] = images
    result, by_image = np.zeros((n, *size, features)), np.zeros_like(padded)
    by_kernel = np.zeros_like(kernel)
    for i in range(width_of_kernel):
        for j in range(width_of_kernel):
            y, x = room - padding[0] + i, room - padding[1] + j
            seen = (
                slice(None),
                slice(y, y + stride * size[0], stride),
                slice(x, x + stride * size[1], stride),
            )
            result += padded[seen] @ kernel[i, j]
            by_image[seen] += upstream @ kernel[i, j].T
            by_kernel[i, j] = np.einsum("nyxc,nyxf->cf", padded[seen], upstream)
    return result, by_image[inside], by_kernel


class TestBlocked:
    @pytest.mark.parametrize("block", [1, 2, 4])
    @pytest.mark.parametrize("shape", [(2, 8, 4, 3), (1, 4, 12, 1)])
    def test_round_trip(self, block, shape):
        maps = _maps(shape)
        blocked = Blocked(tf.constant(maps), 1).reblock(block)
        assert (blocked.block, blocked.channels) == (block, shape[-1])
        np.testing.assert_array_equal(blocked.values, _blocked(maps, block))
        np.testing.assert_array_equal(blocked.dense(), maps)

    @pytest.mark.parametrize(("one", "other"), [(2, 4), (4, 2), (4, 1)])
    def test_change_of_the_block_size(self, one, other):
        maps = _maps((2, 8, 8, 3))
        blocked = Blocked(tf.constant(_blocked(maps, one)), one).reblock(other)
        assert blocked.block == other
        np.testing.assert_array_equal(blocked.values, _blocked(maps, other))

    def test_positions_are_in_the_order_of_the_channels(self):
        for block in (1, 2, 4, 8):
            y, x = np.indices((block, block))
            maps = (block * y + x).reshape(1, block, block, 1)
            expected = _blocked(maps, block).reshape(-1)
            assert [block * y + x for y, x in positions(block)] == list(expected)

    @pytest.mark.parametrize("block", [1, 2, 4])
    def test_bias_is_added_before_the_activation_is_applied(self, block):
        maps, shift = _maps((2, 8, 4, 3)), np.array([0.5, -1.0, 2.0], "float32")
        waiting = Blocked(tf.constant(_blocked(maps, block)), block, tf.constant(shift), tf.nn.relu)
        expected = np.maximum(maps + shift, 0)
        np.testing.assert_allclose(waiting.dense(), expected, rtol=1e-6)
        resolved = waiting.resolve()
        assert resolved.shift is None
        assert resolved.activation is None
        np.testing.assert_allclose(resolved.values, _blocked(expected, block), rtol=1e-6)
        np.testing.assert_allclose(waiting.reblock(2).dense(), expected, rtol=1e-6)

    def test_unknown_batch_size(self):
        maps = _maps((3, 8, 4, 2))

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 4, 2))])
        def there_and_back(maps):
            return Blocked(maps, 1).reblock(4).dense()

        np.testing.assert_array_equal(there_and_back(maps), maps)


class TestPooling:
    @pytest.mark.parametrize("block", [2, 4])
    def test_against_numpy(self, block):
        maps = _maps((2, 8, 12, 3))
        windows = maps.reshape(2, 4, 2, 6, 2, 3)
        blocked = Blocked(tf.constant(_blocked(maps, block)), block)
        for pool, expected in (
            (max_pool, windows.max((2, 4))),
            (average_pool, windows.mean((2, 4))),
        ):
            pooled = pool(blocked)
            assert pooled.block == block // 2
            np.testing.assert_allclose(pooled.dense(), expected, rtol=1e-5, atol=1e-6)

    def test_max_pooling_keeps_the_bias_and_the_activation(self):
        maps, shift = _maps((2, 8, 4, 3)), tf.constant([0.5, -1.0, 2.0])
        pooled = max_pool(Blocked(tf.constant(_blocked(maps, 2)), 2, shift, tf.nn.tanh))
        assert pooled.shift is shift
        assert pooled.activation is tf.nn.tanh
        expected = np.tanh(maps + shift.numpy()).reshape(2, 4, 2, 2, 2, 3).max((2, 4))
        np.testing.assert_allclose(pooled.dense(), expected, rtol=1e-5)

    def test_average_pooling_applies_the_bias_and_the_activation(self):
        maps, shift = _maps((2, 8, 4, 3)), tf.constant([0.5, -1.0, 2.0])
        pooled = average_pool(Blocked(tf.constant(_blocked(maps, 2)), 2, shift, tf.nn.relu))
        expected = np.maximum(maps + shift.numpy(), 0).reshape(2, 4, 2, 2, 2, 3).mean((2, 4))
        np.testing.assert_allclose(pooled.dense(), expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_the_first_of_equal_values_gets_the_gradient_as_in_tensorflow(self, jit_compile):
        # Values of {0, 1} with every kind of tie, and a constant map.
        maps = np.random.default_rng(0).integers(0, 2, (20, 8, 8, 2)).astype("float32")
        maps[0] = 1.0
        upstream = tf.constant(_maps((20, 4, 4, 2)))

        @tf.function(jit_compile=jit_compile)
        def gradient(maps):
            with tf.GradientTape() as tape:
                tape.watch(maps)
                loss = tf.reduce_sum(upstream * max_pool(Blocked(maps, 1).reblock(2)).dense())
            return tape.gradient(loss, maps)

        images = tf.constant(maps)
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(upstream * tf.nn.max_pool2d(images, 2, 2, "VALID"))
        expected = tape.gradient(loss, images).numpy()
        np.testing.assert_array_equal(expected[0, ::2, ::2], upstream[0])  # The first one.
        np.testing.assert_array_equal(gradient(images), expected)


KERNELS = [(1, 1), (3, 1), (4, 1), (5, 1), (7, 1), (2, 2), (3, 2), (4, 2), (5, 2), (3, 4), (5, 4)]


class TestBlockConvolution:
    @staticmethod
    def _geometry(kernel, stride, padding, height, width, block):
        before, size = zip(
            *(_padding(padding, kernel, stride, length) for length in (height, width)), strict=True
        )
        # Cropped to a multiple of the block, as required by the plan.
        size = tuple(length // block * block for length in size)
        return BlockConvolution(kernel, stride, before, size, block)

    @pytest.mark.parametrize("padding", ["valid", "same"])
    @pytest.mark.parametrize("block", [1, 2, 4])
    @pytest.mark.parametrize(("kernel", "stride"), KERNELS)
    def test_forward_and_gradients_against_numpy(self, kernel, stride, padding, block):
        height, width, channels, features = 32, 48, 3, 4
        geometry = self._geometry(kernel, stride, padding, height, width, block)
        images = _maps((2, height, width, channels))
        weights = _maps((kernel, kernel, channels, features), 1)
        upstream = _maps((2, *geometry.size, features), 2)
        expected = _convolution(images, weights, upstream, stride, geometry.padding, geometry.size)
        for name in ("by_matmul", "by_convolution"):
            x, k = tf.constant(images), tf.constant(weights)
            with tf.GradientTape() as tape:
                tape.watch([x, k])
                blocks = getattr(geometry, name)(Blocked(x, 1), geometry.weights(k))
                assert blocks.block == block
                result = blocks.dense()
                loss = tf.reduce_sum(upstream * result)
            found = (result, *tape.gradient(loss, [x, k]))
            for value, right in zip(found, expected, strict=True):
                np.testing.assert_allclose(
                    value, right, rtol=1e-4, atol=1e-4 * np.abs(right).max(), err_msg=name
                )

    def test_reads_blocks_with_a_bias_and_an_activation_to_apply(self):
        images, shift = _maps((2, 16, 8, 3)), np.array([0.5, -1.0, 2.0], "float32")
        weights = _maps((3, 3, 3, 4), 1)
        geometry = self._geometry(3, 1, "same", 16, 8, 2)
        seen = np.maximum(images + shift, 0)
        expected, *_ = _convolution(seen, weights, np.zeros((2, 16, 8, 4)), 1, (1, 1), (16, 8))
        for block in (1, 2, 4):  # The block size of its input is 2.
            maps = Blocked(
                tf.constant(_blocked(images, block)), block, tf.constant(shift), tf.nn.relu
            )
            for convolve in (geometry.by_matmul, geometry.by_convolution):
                found = convolve(maps, geometry.weights(tf.constant(weights))).dense()
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    # By hand. Blocks of 2: kernel 5 from the last row of a block reads 6 rows, which are 3 blocks,
    # 36 pixels for 25. Blocks of 4: 8 rows, 2 blocks, 64 pixels.
    @pytest.mark.parametrize(
        ("kernel", "stride", "padding", "block", "reach", "waste"),
        [
            (5, 1, 0, 1, 5, 1.0),
            (5, 1, 0, 2, 3, 36 / 25),
            (5, 1, 0, 4, 2, 64 / 25),
            (3, 1, 1, 2, 3, 36 / 9),
            (3, 1, 0, 2, 2, 16 / 9),
            (3, 2, 0, 2, 2, 64 / 9),
            (4, 4, 0, 1, 1, 1.0),
        ],
    )
    def test_reach_and_waste(self, kernel, stride, padding, block, reach, waste):
        geometry = BlockConvolution(kernel, stride, (padding, padding), (8, 8), block)
        assert geometry.reach == (reach, reach)
        assert geometry.waste == pytest.approx(waste)
        assert geometry.block_in == block * stride
