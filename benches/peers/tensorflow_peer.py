"""R1 in TensorFlow: the Keras notebook's way, with tf.function around the whole chain and around the update."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import common as c  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(c.THREADS)
tf.config.threading.set_inter_op_parallelism_threads(c.THREADS)
tf.random.set_seed(1)


def network(p):
    conv = lambda n: tf.keras.layers.Conv2D(n, 3, strides=2, padding="same", activation="swish")
    inside = [conv(n) for n in c.CHANNELS[1:]]
    model = tf.keras.Sequential([tf.keras.Input((32, 32, 1)), *inside, tf.keras.layers.Flatten(), tf.keras.layers.Dense(1)])
    dense = p["dense1.weight"].reshape(64, 2, 2).transpose(1, 2, 0).reshape(256, 1)
    weights = [t for i in range(1, 5) for t in (p[f"conv{i}.weight"].transpose(2, 3, 1, 0), p[f"conv{i}.bias"])]
    model.set_weights([*weights, dense, p["dense1.bias"]])
    return model


def gradient(model, x):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        energy = model(x)
    return tape.gradient(energy, x)


class Peer:
    def __init__(self):
        self.model = network(c.parameters())
        self.adam = tf.keras.optimizers.Adam(c.LEARNING_RATE, epsilon=c.EPSILON)
        self.replay = c.Replay((32, 32, 1))
        self.images = tf.constant(self.replay.uniform(c.BATCH))

    @tf.function
    def refine(self, x, steps):
        for _ in tf.range(steps):  # a loop in the graph: the notebook's unrolled steps run no faster, and start slower
            x = tf.clip_by_value(x + tf.random.normal((c.BATCH, 32, 32, 1), stddev=c.NOISE), -1.0, 1.0)
            g = tf.clip_by_value(gradient(self.model, x), -c.CLIP, c.CLIP)
            x = tf.clip_by_value(x - c.STEP_SIZE * g, -1.0, 1.0)
        return x

    @tf.function
    def update(self, real, fake):
        real = tf.clip_by_value(real + tf.random.normal((c.BATCH, 32, 32, 1), stddev=c.NOISE), -1.0, 1.0)
        with tf.GradientTape() as tape:
            e_real, e_fake = tf.split(self.model(tf.concat([real, fake], 0)), 2)
            reg = c.ALPHA * tf.reduce_mean(e_real**2 + e_fake**2)
            loss = tf.reduce_mean(e_real) - tf.reduce_mean(e_fake) + reg
        variables = self.model.trainable_variables
        self.adam.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    def chain(self, steps):
        self.images = self.refine(self.images, tf.constant(steps))
        self.images.numpy()

    def train(self):
        fake = self.refine(tf.constant(self.replay.draw()), tf.constant(c.CHAIN))
        loss = float(self.update(tf.constant(self.replay.real()), fake))
        self.replay.store(fake.numpy())
        return loss


if __name__ == "__main__":
    peer = Peer()
    golden_gradient = lambda x: gradient(network(c.parameters()), tf.constant(np.ascontiguousarray(x.transpose(0, 2, 3, 1))))
    c.measure("TensorFlow, tf.function", tf.__version__, peer.train, peer.chain, golden_gradient)
