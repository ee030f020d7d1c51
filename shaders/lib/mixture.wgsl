// Where the Gaussians of a toy set are: data::toy::Toy::mixture on the host.
fn centre(toy: u32, k: u32) -> vec2f {
    if (toy == 0u) { // five: four corners and the origin
        return select(vec2f(vec2u(k % 2u, k / 2u)) * 4.0 - 2.0, vec2f(0.0), k == 4u);
    }
    if (toy == 1u) { // eight on a circle
        return 3.0 * circle(f32(k) * 0.125);
    }
    return vec2f(vec2u(k % 5u, k / 5u)) * 1.5 - 3.0; // a grid of 25
}
