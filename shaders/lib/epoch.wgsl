// Where a training step lies in its epoch, and the epoch's order of images. See kernels::draw_real.

struct Epoch {
    number: u32,
    position: u32,
    n_real: u32,
}

fn epoch_of(step: u32, n_images: u32, batch: u32) -> Epoch {
    let steps = (n_images + batch - 1u) / batch;
    let position = (step % steps) * batch;
    return Epoch(step / steps, position, min(batch, n_images - position));
}
