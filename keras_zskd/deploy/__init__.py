"""Export to deployment formats; every file is executed and compared with the Keras model."""
