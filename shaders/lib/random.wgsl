// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), and numbers made of its bits.
// The counter is [stream << 24 | quad, image, chain step, training step]; the key is the seed. See kernels::random.

// The 64-bit product of two words as (high, low).
fn multiply_wide(a: u32, b: u32) -> vec2u {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let cross = a0 * b1 + (middle & 0xffffu);
    return vec2u(a1 * b1 + (middle >> 16u) + (cross >> 16u), a * b);
}

fn philox(counter: vec4u, key: vec2u) -> vec4u {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        let p0 = multiply_wide(0xD2511F53u, c.x);
        let p1 = multiply_wide(0xCD9E8D57u, c.z);
        c = vec4u(p1.x ^ c.y ^ k.x, p1.y, p0.x ^ c.w ^ k.y, p0.y);
        k += vec2u(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// Uniform in [-1, 1): 24 bits, exact.
fn uniform_of(bits: vec4u) -> vec4f {
    return vec4f(bits >> vec4u(8u)) * (1.0 / 8388608.0) - 1.0;
}

// Natural logarithm of u in (0, 1]: u = 2^e m with m in [sqrt(1/2), sqrt(2)), polynomial in m - 1.
fn log_unit(u: f32) -> f32 {
    let shifted = bitcast<u32>(u) - 0x3f3504f3u;
    let e = f32(bitcast<i32>(shifted) >> 23u);
    let r = bitcast<f32>((shifted & 0x7fffffu) + 0x3f3504f3u) - 1.0;
    var q = 0.09004202485084534;
    q = q * r - 0.14257794618606567;
    q = q * r + 0.14806459844112396;
    q = q * r - 0.16575047373771667;
    q = q * r + 0.19973105192184448;
    q = q * r - 0.25001609325408936;
    q = q * r + 0.33333659172058105;
    q = q * r - 0.4999999403953552;
    return e * 0.6931471805599453 + (q * (r * r) + r);
}

// Cosine and sine of an angle in turns, in [-1/4, 1/4].
fn quarter_circle(t: f32) -> vec2f {
    let s = t * t;
    var cosine = 56.24053955078125;
    cosine = cosine * s - 85.24009704589844;
    cosine = cosine * s + 64.93457794189453;
    cosine = cosine * s - 19.739171981811523;
    cosine = cosine * s + 0.9999999403953552;
    var sine = 39.53581237792969;
    sine = sine * s - 76.5496597290039;
    sine = sine * s + 81.60099792480469;
    sine = sine * s - 41.34165573120117;
    sine = sine * s + 6.283185005187988;
    return vec2f(cosine, sine * t);
}

// Cosine and sine of any angle in turns: drivers' own may be off by 2^-11.
fn circle(turns: f32) -> vec2f {
    let t = turns - floor(turns + 0.5);
    let c = quarter_circle(select(t, select(-0.5, 0.5, t > 0.0) - t, abs(t) > 0.25));
    return vec2f(select(c.x, -c.x, abs(t) > 0.25), c.y);
}

// Two standard normal numbers of two words (Box and Muller 1958). The angle is t in [-1/4, 1/4) turns, and one more
// bit tells the sign of its cosine, so that two short polynomials do.
fn box_muller(a: u32, b: u32) -> vec2f {
    let u = 2.0 - bitcast<f32>((a >> 9u) | 0x3f800000u);
    let radius = sqrt(max(-2.0 * log_unit(u), 0.0));
    let t = (bitcast<f32>((b >> 9u) | 0x3f800000u) - 1.5) * 0.5;
    let c = quarter_circle(t);
    let sign = select(1.0, -1.0, (b & 1u) == 1u);
    return vec2f(c.x * radius * sign, c.y * radius);
}

// Four standard normal numbers.
fn normal_of(bits: vec4u) -> vec4f {
    return vec4f(box_muller(bits.x, bits.y), box_muller(bits.z, bits.w));
}
