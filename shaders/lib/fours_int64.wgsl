// lib/fours.wgsl in words of 64 bits, for llvmpipe: it loads and stores lane by lane, and a word takes as long as half of
// one. Needs 64-bit integers, which WGSL has in wgpu alone; words hold the first float in their low half.
alias Four = vec2<u64>;

fn floats(four: Four) -> vec4f {
    let low = vec2u(four);
    let high = vec2u(four >> vec2u(32u));
    return bitcast<vec4f>(vec4u(low.x, high.x, low.y, high.y));
}

fn four_of(v: vec4f) -> Four {
    let words = bitcast<vec4u>(v);
    return vec2<u64>(words.xz) | (vec2<u64>(words.yw) << vec2u(32u));
}
