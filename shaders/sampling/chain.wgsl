// The fused chain: whole Langevin steps in one dispatch. Chains do not look at each other, so a workgroup owns one
// image, and only workgroup barriers stand between layers. A step is
//   x <- clamp(x + noise N(0, 1)); g = dE/dx; x <- clamp(x - drift clip(g)), or the noise comes last   (langevin.wgsl)
// with g by the network's forward pass and its input gradient (conv_forward.wgsl, conv_input_gradient.wgsl); a dense
// layer is a convolution with a kernel row for each pixel of its input.
//
// x lies in workgroup memory. Where hidden layers' values, slopes and gradients lie, in the image's part of `scratch` or
// in workgroup memory, lib/chain_scratch.wgsl and lib/chain_workgroup.wgsl say: [pixel][channel] in fours; the first
// ZEROS fours are 0, and stand for every pixel in the padding.
//
// Work is shared out in tiles of TILE pixels by four channels, neighbouring invocations taking neighbouring channels,
// so that they read weights side by side and share input pixels. Where a layer has fewer tiles than the workgroup has
// invocations, input channels are split among `split` of them, whose sums are added in order.
//
// x = image, of those from params.first_image on. 1 state, 2 weights in fours, [ky][kx][in][out] forward and [ky][column][out][in] backward
// (kernels::pack_weights), 3 parameters (for the biases), 4 x [block][feature][lane], 5 scratch.
// The prelude declares SIZE, the workgroup's invocations, FEATURES of an image, MAX_LAYERS, and a chain's own level
// (lib/own_levels.wgsl: at binding 6).

override LANES: u32 = 16;
override N_LAYERS: u32 = 1;
override ZEROS: u32 = 1;   // fours of zeros
override SCRATCH: u32 = 1; // fours of one image's scratch

struct Layer {
    in_channels: u32,
    in_height: u32,
    in_width: u32,
    out_channels: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_y: u32,
    stride_x: u32,
    pad_top: u32,
    pad_left: u32,
    forward_weights: u32,  // in fours
    backward_weights: u32, // in fours
    bias: u32,             // in the parameters
    activation: u32,
    value: u32,            // of its output: its place, in fours
    gradient: u32,         // of its pre-activation
    forward_split: u32,
    backward_split: u32,
    leak: f32,             // the activation's
    slope: u32,            // in the scratch
    spare0: u32,           // elements of an array of uniforms come in sixteen bytes
    spare1: u32,
}

struct Params {
    dynamics: Dynamics,
    first_block: u32,
    chain_step: u32, // the first of this dispatch
    n_steps: u32,
    first_image: u32, // of this dispatch
    // N_LAYERS, for loops over layers: FXC, the old compiler of DX12, unrolls those whose length it knows.
    n_layers: u32,
    spare0: u32,
    spare1: u32,
    spare2: u32,
    layers: array<Layer, MAX_LAYERS>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> parameters: array<f32>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> scratch: array<vec4f>;

const LANGEVIN: u32 = 4u;
const TILE: u32 = 4u; // pixels
const PIXELS = vec4u(0u, 1u, 2u, 3u); // of a tile: columns of a matrix, as drivers keep those in registers

var<workgroup> image_x: array<f32, FEATURES>;

struct Pair {
    a: vec4f,
    b: vec4f,
}

fn fours(channels: u32) -> u32 {
    return (channels + 3u) / 4u;
}

// Adds two columns of the sums of the invocations that share a tile, in order; the first of them gets the total. `at` is
// where it will lie.
fn add_parts(at: u32, index: u32, split: u32, a: vec4f, b: vec4f) -> Pair {
    let share = SIZE / split;
    set_part(at, index, a);
    set_part(at, SIZE + index, b);
    workgroupBarrier();
    var total = Pair(a, b);
    if (index < share) {
        for (var other = 1u; other < split; other++) {
            total.a += part(at, other * share + index);
            total.b += part(at, SIZE + other * share + index);
        }
    }
    workgroupBarrier();
    return total;
}

fn add_tiles(at: u32, index: u32, split: u32, sum: mat4x4f) -> mat4x4f {
    let first = add_parts(at, index, split, sum[0], sum[1]);
    let second = add_parts(at, index, split, sum[2], sum[3]);
    return mat4x4f(first.a, first.b, second.a, second.b);
}

// sum + w v, by columns: one multiply-add after the other.
fn multiply_add(sum: vec4f, w: mat4x4f, v: vec4f) -> vec4f {
    return sum + v.x * w[0] + v.y * w[1] + v.z * w[2] + v.w * w[3];
}

// Adds input channels c of a tile's pixels, by their weights.
fn add_products(sum: mat4x4f, w: mat4x4f, places: vec4u, c: u32) -> mat4x4f {
    return mat4x4f(
        multiply_add(sum[0], w, hidden(places.x + c)),
        multiply_add(sum[1], w, hidden(places.y + c)),
        multiply_add(sum[2], w, hidden(places.z + c)),
        multiply_add(sum[3], w, hidden(places.w + c)),
    );
}

// Value and slope of one pixel's four channels, 0 for those that are not used.
fn store_activated(l: u32, n: Layer, base: u32, at: u32, z: vec4f, used: vec4<bool>) {
    let a = activate(n.activation, n.leak, z);
    store(l, n, base, at, select(vec4f(0.0), a.value, used), select(vec4f(0.0), a.slope, used));
}

// Layer l's values and slopes.
fn forward(l: u32, index: u32, base: u32) {
    let n = params.layers[l];
    let out4 = fours(n.out_channels);
    let in4 = fours(n.in_channels);
    let pixels = n.out_height * n.out_width;
    let items = out4 * ((pixels + TILE - 1u) / TILE);
    let share = SIZE / n.forward_split;
    let own_part = index / share;
    let c_begin = in4 * own_part / n.forward_split;
    let c_end = in4 * (own_part + 1u) / n.forward_split;
    let zeros = hidden_base(base);
    var input = zeros;
    if (l > 0u) {
        input += params.layers[l - 1u].value;
    }
    for (var first = 0u; first < items; first += share) {
        let item = first + index % share;
        let channel = item % out4;
        let pixel = item / out4 * TILE;
        var sum = mat4x4f();
        if (item < items) {
            for (var ky = 0u; ky < n.kernel_height; ky++) {
                for (var kx = 0u; kx < n.kernel_width; kx++) {
                    let o = min(pixel + PIXELS, vec4u(pixels - 1u));
                    let iy = vec4i(o / n.out_width * n.stride_y + ky) - i32(n.pad_top);
                    let ix = vec4i(o % n.out_width * n.stride_x + kx) - i32(n.pad_left);
                    let nothing = vec4i(0);
                    let inside = (iy >= nothing) & (iy < vec4i(i32(n.in_height)))
                        & (ix >= nothing) & (ix < vec4i(i32(n.in_width)));
                    let place = vec4u(max(iy, nothing)) * n.in_width + vec4u(max(ix, nothing));
                    let tap = n.forward_weights + (ky * n.kernel_width + kx) * n.in_channels * out4 + channel;
                    if (l == 0u) {
                        for (var c = 0u; c < n.in_channels; c++) {
                            let w = weights[tap + c * out4];
                            let at = min(place * n.in_channels + c, vec4u(FEATURES - 1u));
                            let pixel_x = vec4f(image_x[at.x], image_x[at.y], image_x[at.z], image_x[at.w]);
                            let v = select(vec4f(0.0), pixel_x, inside);
                            sum += mat4x4f(v.x * w, v.y * w, v.z * w, v.w * w);
                        }
                        continue;
                    }
                    let places = select(vec4u(zeros), input + place * in4, inside);
                    for (var c = c_begin; c < c_end; c++) {
                        let at = tap + c * 4u * out4;
                        let w0 = weights[at];
                        let w1 = weights[at + out4];
                        let w2 = weights[at + 2u * out4];
                        let w3 = weights[at + 3u * out4];
                        sum = add_products(sum, mat4x4f(w0, w1, w2, w3), places, c);
                    }
                }
            }
        }
        if (n.forward_split > 1u) {
            sum = add_tiles(n.value, index, n.forward_split, sum);
        }
        if (own_part == 0u && item < items) {
            let b = n.bias + channel * 4u;
            let last = n.bias + n.out_channels - 1u;
            let bias = vec4f(
                parameters[b],
                parameters[min(b + 1u, last)],
                parameters[min(b + 2u, last)],
                parameters[min(b + 3u, last)],
            );
            let used = vec4u(0u, 1u, 2u, 3u) + channel * 4u < vec4u(n.out_channels);
            let at = pixel * out4 + channel;
            let n_pixels = pixels - pixel;
            store_activated(l, n, base, at, sum[0] + bias, used);
            if (n_pixels > 1u) {
                store_activated(l, n, base, at + out4, sum[1] + bias, used);
            }
            if (n_pixels > 2u) {
                store_activated(l, n, base, at + 2u * out4, sum[2] + bias, used);
            }
            if (n_pixels > 3u) {
                store_activated(l, n, base, at + 3u * out4, sum[3] + bias, used);
            }
        }
    }
}

// The place of kernel column kx among the packed ones.
fn column(n: Layer, kx: u32) -> u32 {
    let phase = kx % n.stride_x;
    var before = 0u;
    for (var p = 0u; p < phase; p++) {
        before += (n.kernel_width + n.stride_x - 1u - p) / n.stride_x;
    }
    return before + (n.kernel_width + n.stride_x - 1u - phase) / n.stride_x - 1u - kx / n.stride_x;
}

// A gradient: the slope times what the next layer says.
fn times(slope: u32, gradient: u32, sum: vec4f, used: bool) {
    if (used) {
        set_hidden(gradient, scratch[slope] * sum);
    }
}

// The gradient of layer l - 1's pre-activation from that of layer l's. Tiles are of pixels of one phase: those that
// the same taps reach.
fn backward(l: u32, index: u32, base: u32) {
    let n = params.layers[l];
    let zeros = hidden_base(base);
    let to = params.layers[l - 1u].gradient;
    let slope = base + params.layers[l - 1u].slope;
    let out4 = fours(n.out_channels);
    let in4 = fours(n.in_channels);
    let rows = (n.in_height + n.stride_y - 1u) / n.stride_y; // of a phase
    let columns = (n.in_width + n.stride_x - 1u) / n.stride_x;
    let tiles = (rows * columns + TILE - 1u) / TILE;
    let items = in4 * tiles * n.stride_y * n.stride_x;
    let share = SIZE / n.backward_split;
    let own_part = index / share;
    let c_begin = out4 * own_part / n.backward_split;
    let c_end = out4 * (own_part + 1u) / n.backward_split;
    for (var first = 0u; first < items; first += share) {
        let item = first + index % share;
        let channel = item % in4;
        let pixel = (item / in4) % tiles * TILE;
        let phase = item / in4 / tiles;
        let phase_y = phase / n.stride_x;
        let phase_x = phase % n.stride_x;
        var sum = mat4x4f();
        if (item < items) {
            for (var ky = (phase_y + n.pad_top) % n.stride_y; ky < n.kernel_height; ky += n.stride_y) {
                for (var kx = (phase_x + n.pad_left) % n.stride_x; kx < n.kernel_width; kx += n.stride_x) {
                    let i = min(pixel + PIXELS, vec4u(rows * columns - 1u));
                    let y = vec4i(phase_y + i / columns * n.stride_y + n.pad_top) - i32(ky);
                    let x = vec4i(phase_x + i % columns * n.stride_x + n.pad_left) - i32(kx);
                    let nothing = vec4i(0);
                    let oy = vec4u(max(y, nothing)) / n.stride_y;
                    let ox = vec4u(max(x, nothing)) / n.stride_x;
                    let inside = (y >= nothing) & (x >= nothing)
                        & (oy < vec4u(n.out_height)) & (ox < vec4u(n.out_width));
                    let place = n.gradient + (oy * n.out_width + ox) * out4;
                    let places = zeros + select(vec4u(0u), place, inside);
                    let tap = n.backward_weights
                        + (ky * n.kernel_width + column(n, kx)) * n.out_channels * in4 + channel;
                    for (var c = c_begin; c < c_end; c++) {
                        // Where output channels do not fill their four, its gradients are 0.
                        let row = vec4u(0u, 1u, 2u, 3u) + c * 4u;
                        let at = tap + min(row, vec4u(n.out_channels - 1u)) * in4;
                        let w0 = weights[at.x];
                        let w1 = weights[at.y];
                        let w2 = weights[at.z];
                        let w3 = weights[at.w];
                        sum = add_products(sum, mat4x4f(w0, w1, w2, w3), places, c);
                    }
                }
            }
        }
        if (n.backward_split > 1u) {
            sum = add_tiles(to, index, n.backward_split, sum);
        }
        if (own_part == 0u && item < items) {
            let i = pixel + PIXELS;
            let iy = phase_y + i / columns * n.stride_y;
            let ix = phase_x + i % columns * n.stride_x;
            let used = (i < vec4u(rows * columns)) & (iy < vec4u(n.in_height)) & (ix < vec4u(n.in_width));
            let at = (iy * n.in_width + ix) * in4 + channel;
            let slopes = slope + at;
            let gradients = zeros + to + at;
            times(slopes.x, gradients.x, sum[0], used.x);
            times(slopes.y, gradients.y, sum[1], used.y);
            times(slopes.z, gradients.z, sum[2], used.z);
            times(slopes.w, gradients.w, sum[3], used.w);
        }
    }
}

// dE/dx at one feature, from the first layer's gradient: a dot product over output channels, for no lane to be idle
// where x has one channel.
fn input_gradient(feature: u32, base: u32) -> f32 {
    let n = params.layers[0];
    let out4 = fours(n.out_channels);
    let c = feature % n.in_channels;
    let iy = feature / n.in_channels / n.in_width;
    let ix = feature / n.in_channels % n.in_width;
    var sum = vec4f(0.0);
    for (var ky = (iy + n.pad_top) % n.stride_y; ky < n.kernel_height; ky += n.stride_y) {
        let y = i32(iy + n.pad_top) - i32(ky);
        let oy = u32(max(y, 0)) / n.stride_y;
        for (var kx = (ix + n.pad_left) % n.stride_x; kx < n.kernel_width; kx += n.stride_x) {
            let x = i32(ix + n.pad_left) - i32(kx);
            let ox = u32(max(x, 0)) / n.stride_x;
            if (y >= 0 && x >= 0 && oy < n.out_height && ox < n.out_width) {
                let tap = n.forward_weights + ((ky * n.kernel_width + kx) * n.in_channels + c) * out4;
                let from_gradient = hidden_base(base) + n.gradient + (oy * n.out_width + ox) * out4;
                for (var o = 0u; o < out4; o++) {
                    sum += hidden(from_gradient + o) * weights[tap + o];
                }
            }
        }
    }
    return sum.x + sum.y + sum.z + sum.w;
}

// Adds the noise of a step to image `number` of all.
fn perturb(index: u32, number: u32, step: u32, noise_scale: f32) {
    let bound = params.dynamics.bound;
    for (var quad = index; quad * 4u < FEATURES; quad += SIZE) {
        let chain_step = state.chain_base + params.chain_step + step;
        let counter = vec4u((LANGEVIN << 24u) | quad, number, chain_step, state.step);
        let noise = noise_scale * normal_of(philox(counter, vec2u(state.seed_low, state.seed_high)));
        for (var i = 0u; i < min(4u, FEATURES - quad * 4u); i++) {
            image_x[quad * 4u + i] = clamp(image_x[quad * 4u + i] + noise[i], -bound, bound);
        }
    }
}

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group_here: vec3u) {
    let group = group_here + FIRST_GROUP;
    let image = params.first_image + group.x;
    let number = state.first_image + image;
    let base = group.x * SCRATCH;
    let image_base = (params.first_block + image / LANES) * FEATURES * LANES + image % LANES;
    for (var f = index; f < FEATURES; f += SIZE) {
        image_x[f] = x[image_base + f * LANES];
    }
    for (var i = index; i < ZEROS; i += SIZE) {
        set_hidden(hidden_base(base) + i, vec4f(0.0));
    }
    workgroupBarrier();
    let clip = params.dynamics.gradient_clip;
    let own = own_level((params.first_block + image / LANES) * LANES + image % LANES);
    let first_step = own + state.chain_base + params.chain_step;
    var now = Move();
    let noise_first = params.dynamics.form == 0u;
    for (var step = 0u; step < params.n_steps; step++) {
        // In the loop alone: numbers that are loaded before it stay in scalar registers, which are all in use.
        let before = now;
        now = move_of(params.dynamics, level_of(params.dynamics, state.step, first_step + step));
        // Noise that comes last is added when the next step begins, for no barrier to be spent on it.
        if (noise_first) {
            perturb(index, number, step, now.noise);
        } else if (step > 0u) {
            perturb(index, number, step - 1u, before.noise);
        }
        workgroupBarrier();
        for (var l = 0u; l < params.n_layers; l++) {
            forward(l, index, base);
            layer_barrier();
        }
        turn_barrier();
        for (var l = params.n_layers - 1u; l > 0u; l--) {
            backward(l, index, base);
            layer_barrier();
        }
        for (var f = index; f < FEATURES; f += SIZE) {
            let g = clamp(input_gradient(f, base), -clip, clip);
            image_x[f] = clamp(now.keep * image_x[f] - now.drift * g, -now.between, now.between);
        }
        workgroupBarrier();
        storageBarrier();
    }
    if (!noise_first && params.n_steps > 0u) {
        perturb(index, number, params.n_steps - 1u, now.noise);
    }
    workgroupBarrier();
    for (var f = index; f < FEATURES; f += SIZE) {
        x[image_base + f * LANES] = image_x[f];
    }
}
