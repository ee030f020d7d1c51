// Chains that each begin at a level of their own. [block][lane]
@group(0) @binding(BINDING) var<storage, read> levels: array<f32>;

fn own_level(place: u32) -> u32 {
    return u32(levels[place]);
}
