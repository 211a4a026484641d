"""Run synthesis and training on all devices of a machine, with `MirroredStrategy`.

    python examples/several_devices.py [--devices=2] --output=devices-run

If there are no GPUs, the CPU is split into `--devices` logical devices. This only demonstrates how
it works; it is not faster. The impressions are the same on one device and on several.
"""

import argparse
import importlib.resources

import tensorflow as tf

import keras_zskd as zskd

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", default="devices-run")
parser.add_argument("--devices", type=int, default=2)
parser.add_argument("--impressions", type=int, default=2_000)
parser.add_argument("--epochs", type=int, default=5)
options = parser.parse_args()

kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
if kind == "CPU":
    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * options.devices
    tf.config.set_logical_device_configuration(cpu, parts)
devices = tf.config.list_logical_devices(kind)

path = importlib.resources.files("keras_zskd") / "assets" / "lenet5_mnist.keras"
# Each batch is divided between the devices.
with tf.distribute.MirroredStrategy([device.name for device in devices]).scope():
    teacher = zskd.Teacher(str(path), input_range=(0.0, 1.0))
    method = zskd.METHODS["zskd"](num_impressions=options.impressions, epochs=options.epochs)
    run = zskd.distill(teacher, 0.5, method, options.output)
print(f"trained on {len(devices)} devices: {run.directory}")
