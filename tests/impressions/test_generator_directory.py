"""Directories that cannot be used, batches too large for memory, and invalid arguments."""

import errno

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.impressions import shard_maker
from keras_zskd.impressions.canvas import UniformCanvas
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.objectives import ClassLogit
from keras_zskd.impressions.priors import BatchNormStatistics, TotalVariation
from keras_zskd.impressions.targets import DirichletTargets, OneHotTargets
from keras_zskd.inputs.shards import write_shard
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.models.teacher import Teacher

pytestmark = pytest.mark.usefixtures("without_xla")


class TestDirectory:
    @pytest.mark.parametrize(
        ("count", "batch_size", "shards"), [(10, 4, [4, 4, 2]), (10, 16, [10]), (10, None, [10])]
    )
    def test_has_one_shard_per_batch(self, one_step, tmp_path, count, batch_size, shards):
        one_step.generate(count, tmp_path / "a", batch_size=batch_size, verbose=0)
        names = sorted(path.name for path in (tmp_path / "a" / "shards").iterdir())
        assert names == [f"{number:05d}-{size}.json" for number, size in enumerate(shards)]

    def test_of_another_teacher_raises(self, make_generator, tmp_path):
        make_generator(seed=0).generate(4, tmp_path / "a", verbose=0)
        with pytest.raises(InputError, match=r"made in another way \(teacher differ\)"):
            make_generator(seed=1).generate(8, tmp_path / "a", verbose=0)
        assert TransferSet(tmp_path / "a").num_impressions == 4

    @pytest.mark.parametrize(
        ("name", "changes"),
        [
            ("steps", {"steps": 5}),
            ("objective", {"temperature": 3.0}),
            ("objective", {"targets": OneHotTargets()}),
            ("priors", {"priors": [TotalVariation(0.5)]}),
            ("transforms", {"transforms": []}),
            ("canvas", {"canvas": UniformCanvas("none")}),
            ("learning_rate", {"learning_rate": 0.06}),
            ("objective", {"tolerance": 0.1}),
            ("precision", {"precision": "bfloat16"}),
        ],
    )
    def test_of_other_settings_raises(self, make_generator, one_step, tmp_path, name, changes):
        one_step.generate(4, tmp_path / "a", verbose=0)
        with pytest.raises(InputError, match=rf"another way \({name} differ\).*another directory"):
            make_generator(**{"steps": 1, **changes}).generate(8, tmp_path / "a", verbose=0)

    def test_of_another_seed_raises(self, one_step, tmp_path):
        one_step.generate(4, tmp_path / "a", verbose=0)
        with pytest.raises(InputError, match=r"\(seed differ\)"):
            one_step.generate(8, tmp_path / "a", seed=1, verbose=0)

    def test_with_other_files_raises_and_is_unchanged(self, make_generator, tmp_path):
        (tmp_path / "thesis.txt").write_text("mine")
        with pytest.raises(InputError, match="holds something else"):
            make_generator().generate(4, tmp_path, verbose=0)
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]

    def test_that_is_a_file_raises(self, make_generator, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(InputError, match="file"):
            make_generator().generate(4, tmp_path / "file", verbose=0)

    def test_that_cannot_be_created_raises_with_the_cause(self, make_generator, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(InputError, match=r"`directory` must be.*is not a directory") as caught:
            make_generator().generate(4, tmp_path / "file" / "a", verbose=0)
        assert isinstance(caught.value.__cause__, tf.errors.OpError)

    @pytest.mark.parametrize(
        "cause",
        [
            OSError(errno.ENOSPC, "No space left on device"),
            PermissionError(errno.EACCES, "Permission denied"),
            # How TensorFlow reports a full disk.
            tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
            tf.errors.UnknownError(None, None, "Input/output error"),
        ],
    )
    def test_that_becomes_unwritable(self, one_step, tmp_path, monkeypatch, cause):
        def write_two(directory, shard, impressions):
            if shard.number == 2:
                raise cause
            write_shard(directory, shard, impressions)

        monkeypatch.setattr(shard_maker, "write_shard", write_two)
        with pytest.raises(InputError, match="`directory` must be") as caught:
            one_step.generate(20, tmp_path / "a", batch_size=4, verbose=0)
        said = str(caught.value)
        assert str(cause) in said
        assert repr(str(tmp_path / "a")) in said
        assert "free" not in said
        assert caught.value.__cause__ is cause
        assert TransferSet(tmp_path / "a").num_impressions == 8


class _OutOfMemory(DirichletTargets):
    """Targets that allocate 4 PiB from impression 4 on."""

    def __init__(self, allocate):
        super().__init__()
        self.allocate = allocate

    def draw(self, prepared, labels, indices, seed, num_classes):
        if indices.max() >= 4:
            self.allocate([2**50])
        return super().draw(prepared, labels, indices, seed, num_classes)

    def get_config(self):
        return {}


@pytest.mark.parametrize(
    ("allocate", "kind"),
    [
        (lambda shape: np.empty(shape, np.float32), MemoryError),
        (lambda shape: tf.fill(shape, 0.5), tf.errors.ResourceExhaustedError),
    ],
)
class TestMemory:
    def test_batch_too_large_for_memory(self, make_generator, tmp_path, allocate, kind):
        generator = make_generator(
            "batch_norm",
            steps=1,
            targets=_OutOfMemory(allocate),
            priors=[BatchNormStatistics(group_size=2)],
        )
        with pytest.raises(InputError, match=r"`batch_size` must be small.*batch_size=4") as caught:
            generator.generate(20, tmp_path / "a", batch_size=4, verbose=0)
        assert "a smaller multiple of 2" in str(caught.value)
        assert isinstance(caught.value.__cause__, kind)
        assert TransferSet(tmp_path / "a").num_impressions == 4

    def test_no_smaller_batch_is_suggested_for_one_impression(
        self, make_generator, tmp_path, allocate, kind
    ):
        if kind is not MemoryError:
            pytest.skip("TensorFlow retries for ten seconds; the other test has both.")
        generator = make_generator(steps=1, targets=_OutOfMemory(allocate))
        with pytest.raises(kind):
            generator.generate(20, tmp_path / "a", batch_size=1, verbose=0)


class TestInvalidArguments:
    @pytest.mark.parametrize("temperature", [0, -1, float("nan")])
    def test_temperature(self, tiny_teacher, temperature):
        with pytest.raises(
            InputError, match=rf"must be positive. Received: temperature={temperature}"
        ):
            ImpressionGenerator(Teacher(tiny_teacher, (0, 1)), temperature=temperature)

    @pytest.mark.parametrize("changes", [{"steps": 0}, {"steps": -3}, {"learning_rate": 0.0}])
    def test_steps_and_learning_rate(self, make_generator, changes):
        ((name, value),) = changes.items()
        with pytest.raises(InputError, match=f"{name}={value}"):
            make_generator(**changes)

    @pytest.mark.parametrize("tolerance", [0, -0.1, float("nan")])
    def test_tolerance(self, make_generator, tolerance):
        with pytest.raises(
            InputError, match=rf"must be a positive.*Received: tolerance={tolerance}"
        ):
            make_generator(tolerance=tolerance)

    @pytest.mark.parametrize(
        "changes", [{"targets": OneHotTargets()}, {"temperature": 4.0}, {"tolerance": 1.0}]
    )
    def test_objective_with_its_short_form(self, tiny_teacher, changes):
        with pytest.raises(InputError, match=r"`objective` must be passed without `targets`"):
            ImpressionGenerator(Teacher(tiny_teacher, (0, 1)), objective=ClassLogit(), **changes)

    @pytest.mark.parametrize("seed", [-1, 2**31])
    def test_seed(self, make_generator, tmp_path, seed):
        with pytest.raises(InputError, match=rf"`seed` must be.*Received: seed={seed}"):
            make_generator().generate(5, tmp_path / "a", seed=seed, verbose=0)
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize("count", [0, -5])
    def test_counts(self, make_generator, tmp_path, count):
        with pytest.raises(
            InputError, match=f"must be 1 or more. Received: num_impressions={count}"
        ):
            make_generator().generate(count, tmp_path / "a", verbose=0)
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize("batch_size", [0, -2])
    def test_batch_size(self, make_generator, tmp_path, batch_size):
        with pytest.raises(InputError, match=f"Received: batch_size={batch_size}"):
            make_generator().generate(5, tmp_path / "a", batch_size=batch_size, verbose=0)
        assert not (tmp_path / "a").exists()

    def test_batch_size_that_splits_a_group(self, make_generator, tmp_path):
        generator = make_generator("batch_norm", priors=[BatchNormStatistics(group_size=4)])
        with pytest.raises(InputError, match=r"multiple of 4.*Received: batch_size=10"):
            generator.generate(5, tmp_path / "a", batch_size=10, verbose=0)
        assert not (tmp_path / "a").exists()

    def test_a_teacher_without_templates_raises_at_once(self):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(4, 3)(inputs))
        teacher = Teacher(keras.Model(inputs, x), (0, 1))
        with pytest.raises(InputError, match="no class templates"):
            ImpressionGenerator(teacher)
        assert ImpressionGenerator(teacher, targets=OneHotTargets()).teacher is teacher

    def test_object_that_is_not_a_teacher(self):
        with pytest.raises(InputError, match=r"does not exist"):
            ImpressionGenerator("nothing.keras")
