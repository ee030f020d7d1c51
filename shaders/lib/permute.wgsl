// A bijection of the numbers below n, another for every (stream, number, key): a Feistel network over the smallest
// even-bit domain that holds them, walked until it lands inside (Black and Rogaway 2002). See kernels::draw_real.

fn mix(value: u32) -> u32 {
    var v = value;
    v = (v ^ (v >> 16u)) * 0x7feb352du;
    v = (v ^ (v >> 15u)) * 0x846ca68bu;
    return v ^ (v >> 16u);
}

fn permute(stream: u32, index: u32, n: u32, half_bits: u32, number: u32, key: vec2u) -> u32 {
    let k0 = philox(vec4u(stream << 24u, 0u, 0u, number), key);
    let k1 = philox(vec4u(stream << 24u, 1u, 0u, number), key);
    let mask = (1u << half_bits) - 1u;
    var v = index;
    loop {
        var left = v >> half_bits;
        var right = v & mask;
        for (var round = 0u; round < 8u; round++) {
            let k = select(k0[round % 4u], k1[round % 4u], round >= 4u);
            let next = left ^ (mix(right ^ k) & mask);
            left = right;
            right = next;
        }
        v = (left << half_bits) | right;
        if (v < n) {
            break;
        }
    }
    return v;
}
