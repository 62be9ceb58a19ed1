"""Compiled perceptrons: the same networks and algorithms as torch's, without its overhead.

Torch's weights stay where they are, as views of one flat array. `kernels` computes with it (`byte_kernels` where most
of an image is empty, `choice_kernels` where a row is an action), `gradients` differentiates the losses, `behaviour`
plays with it, `perceptron` learns in it, and `learners` puts that beneath each algorithm of `agents`.
"""
