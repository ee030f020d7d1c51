struct NagaConstants {
    int first_vertex;
    int first_instance;
    uint other;
};
ConstantBuffer<NagaConstants> _NagaConstants: register(b1);

struct Pixel {
    row_major float4x4 v0_;
    row_major float4x4 v1_;
    row_major float4x4 v2_;
    row_major float4x4 v3_;
    row_major float4x4 v4_;
    row_major float4x4 v5_;
    row_major float4x4 v6_;
    row_major float4x4 v7_;
};

struct Tile {
    Pixel p0_;
    Pixel p1_;
    Pixel p2_;
    Pixel p3_;
};

struct Weights {
    float4 w0_;
    float4 w1_;
    float4 w2_;
    float4 w3_;
    float4 w4_;
    float4 w5_;
    float4 w6_;
    float4 w7_;
};

struct Params {
    uint first_block;
    uint has_slope;
};

static const uint TILE_PIXELS = 1u;
static const uint TILE_VECTORS = 2u;
static const uint TILE_DEPTH = 1u;
static const uint4 PIXELS = uint4(0u, 1u, 2u, 3u);
static const uint4 PHASES = uint4(0u, 1u, 2u, 3u);
static const uint IN_CHANNELS = 64u;
static const uint LANES = 64u;
static const uint IN_PLACE = 0u;
static const uint HAS_SLOPE = 1u;
static const uint WORKGROUP_SIZE = 64u;
static const uint IN_HEIGHT = 7u;
static const uint IN_WIDTH = 7u;
static const uint OUT_CHANNELS = 128u;
static const uint OUT_HEIGHT = 3u;
static const uint OUT_WIDTH = 3u;
static const uint KERNEL_HEIGHT = 4u;
static const uint KERNEL_WIDTH = 4u;
static const uint STRIDE_Y = 2u;
static const uint STRIDE_X = 2u;
static const uint PAD_TOP = 1u;
static const uint PAD_LEFT = 1u;
static const uint FOLDED = 0u;

ByteAddressBuffer weights : register(t0);
RWByteAddressBuffer grad : register(u0);
ByteAddressBuffer slope : register(t1);
cbuffer params : register(b0) { Params params; }
ByteAddressBuffer g : register(t2);

float4 floats(float4 four)
{
    return four;
}

float4 four_of(float4 v)
{
    return v;
}

Weights ZeroValueWeights() {
    return (Weights)0;
}

Weights weights_at(uint at)
{
    Weights w = ZeroValueWeights();

    float4 _e6 = asfloat(weights.Load4(at*16));
    const float4 _e7 = floats(_e6);
    w.w0_ = _e7;
    if (true) {
        float4 _e14 = asfloat(weights.Load4((at + 1u)*16));
        const float4 _e15 = floats(_e14);
        w.w1_ = _e15;
    }
    if (false) {
        float4 _e22 = asfloat(weights.Load4((at + 2u)*16));
        const float4 _e23 = floats(_e22);
        w.w2_ = _e23;
    }
    if (false) {
        float4 _e30 = asfloat(weights.Load4((at + 3u)*16));
        const float4 _e31 = floats(_e30);
        w.w3_ = _e31;
    }
    if (false) {
        float4 _e38 = asfloat(weights.Load4((at + 4u)*16));
        const float4 _e39 = floats(_e38);
        w.w4_ = _e39;
    }
    if (false) {
        float4 _e46 = asfloat(weights.Load4((at + 5u)*16));
        const float4 _e47 = floats(_e46);
        w.w5_ = _e47;
    }
    if (false) {
        float4 _e54 = asfloat(weights.Load4((at + 6u)*16));
        const float4 _e55 = floats(_e54);
        w.w6_ = _e55;
    }
    if (false) {
        float4 _e62 = asfloat(weights.Load4((at + 7u)*16));
        const float4 _e63 = floats(_e62);
        w.w7_ = _e63;
    }
    Weights _e64 = w;
    const Weights weights_1 = _e64;
    return weights_1;
}

Weights next_weights_at(uint at_1)
{
    if (true) {
        const Weights weights_2 = ZeroValueWeights();
        return weights_2;
    }
    const Weights _e3 = weights_at(at_1);
    const Weights weights_3 = _e3;
    return weights_3;
}

float4x4 add_product(float4x4 sum, float4 w_1, float4 x, float4 next_w, float4 next_x)
{
    if (true) {
        return float4x4((sum[0] + (w_1.x * x)), (sum[1] + (w_1.y * x)), (sum[2] + (w_1.z * x)), (sum[3] + (w_1.w * x)));
    }
    return float4x4(((sum[0] + (w_1.x * x)) + (next_w.x * next_x)), ((sum[1] + (w_1.y * x)) + (next_w.y * next_x)), ((sum[2] + (w_1.z * x)) + (next_w.z * next_x)), ((sum[3] + (w_1.w * x)) + (next_w.w * next_x)));
}

Pixel add_products(Pixel pixel, Weights w_2, float4 x_1, Weights next_w_1, float4 next_x_1)
{
    Pixel p_1 = (Pixel)0;

    p_1 = pixel;
    float4x4 _e8 = p_1.v0_;
    const float4x4 _e11 = add_product(_e8, w_2.w0_, x_1, next_w_1.w0_, next_x_1);
    p_1.v0_ = _e11;
    if (true) {
        float4x4 _e15 = p_1.v1_;
        const float4x4 _e18 = add_product(_e15, w_2.w1_, x_1, next_w_1.w1_, next_x_1);
        p_1.v1_ = _e18;
    }
    if (false) {
        float4x4 _e22 = p_1.v2_;
        const float4x4 _e25 = add_product(_e22, w_2.w2_, x_1, next_w_1.w2_, next_x_1);
        p_1.v2_ = _e25;
    }
    if (false) {
        float4x4 _e29 = p_1.v3_;
        const float4x4 _e32 = add_product(_e29, w_2.w3_, x_1, next_w_1.w3_, next_x_1);
        p_1.v3_ = _e32;
    }
    if (false) {
        float4x4 _e36 = p_1.v4_;
        const float4x4 _e39 = add_product(_e36, w_2.w4_, x_1, next_w_1.w4_, next_x_1);
        p_1.v4_ = _e39;
    }
    if (false) {
        float4x4 _e43 = p_1.v5_;
        const float4x4 _e46 = add_product(_e43, w_2.w5_, x_1, next_w_1.w5_, next_x_1);
        p_1.v5_ = _e46;
    }
    if (false) {
        float4x4 _e50 = p_1.v6_;
        const float4x4 _e53 = add_product(_e50, w_2.w6_, x_1, next_w_1.w6_, next_x_1);
        p_1.v6_ = _e53;
    }
    if (false) {
        float4x4 _e57 = p_1.v7_;
        const float4x4 _e60 = add_product(_e57, w_2.w7_, x_1, next_w_1.w7_, next_x_1);
        p_1.v7_ = _e60;
    }
    Pixel _e61 = p_1;
    const Pixel pixel_2 = _e61;
    return pixel_2;
}

void store(uint at_2, uint channel, float4 sum_1)
{
    if ((channel < IN_CHANNELS)) {
        uint place = (at_2 + (channel * 16u));
        if (false) {
            float4 _e19 = asfloat(grad.Load4(place*16));
            const float4 _e20 = floats(_e19);
            const float4 _e22 = four_of((sum_1 * _e20));
            grad.Store4(place*16, asuint(_e22));
            return;
        } else {
            if (true) {
                float4 _e33 = asfloat(slope.Load4(place*16));
                const float4 _e34 = floats(_e33);
                uint _e37 = params.has_slope;
                const float4 _e42 = four_of((sum_1 * ((_e37 == 1u) ? _e34 : (1.0).xxxx)));
                grad.Store4(place*16, asuint(_e42));
                return;
            } else {
                const float4 _e45 = four_of(sum_1);
                grad.Store4(place*16, asuint(_e45));
                return;
            }
        }
    } else {
        return;
    }
}

void store_four(uint at_3, uint channel_1, float4x4 four_1)
{
    store(at_3, channel_1, four_1[0]);
    store(at_3, (channel_1 + 1u), four_1[1]);
    store(at_3, (channel_1 + 2u), four_1[2]);
    store(at_3, (channel_1 + 3u), four_1[3]);
    return;
}

void store_pixel(uint at_4, uint channel_2, Pixel pixel_1)
{
    store_four(at_4, channel_2, pixel_1.v0_);
    if (true) {
        store_four(at_4, (channel_2 + 4u), pixel_1.v1_);
    }
    if (false) {
        store_four(at_4, (channel_2 + 8u), pixel_1.v2_);
    }
    if (false) {
        store_four(at_4, (channel_2 + 12u), pixel_1.v3_);
    }
    if (false) {
        store_four(at_4, (channel_2 + 16u), pixel_1.v4_);
    }
    if (false) {
        store_four(at_4, (channel_2 + 20u), pixel_1.v5_);
    }
    if (false) {
        store_four(at_4, (channel_2 + 24u), pixel_1.v6_);
    }
    if (false) {
        store_four(at_4, (channel_2 + 28u), pixel_1.v7_);
        return;
    } else {
        return;
    }
}

Tile ConstructTile(Pixel arg0, Pixel arg1, Pixel arg2, Pixel arg3) {
    Tile ret = (Tile)0;
    ret.p0_ = arg0;
    ret.p1_ = arg1;
    ret.p2_ = arg2;
    ret.p3_ = arg3;
    return ret;
}

void store_tile(uint at_5, uint step_, uint n_pixels, uint channel_3, Tile tile_1)
{
    Tile rest = (Tile)0;
    uint p_2 = 0u;

    if (true) {
        if ((n_pixels > 0u)) {
            store_pixel(at_5, channel_3, tile_1.p0_);
        }
        return;
    }
    rest = tile_1;
    uint2 loop_bound = uint2(4294967295u, 4294967295u);
    bool loop_init = true;
    while(true) {
        if (all(loop_bound == uint2(0u, 0u))) { break; }
        loop_bound -= uint2(loop_bound.y == 0u, 1u);
        if (!loop_init) {
            uint _e29 = p_2;
            p_2 = (_e29 + 1u);
        }
        loop_init = false;
        uint _e12 = p_2;
        if ((_e12 < n_pixels)) {
        } else {
            break;
        }
        {
            uint _e14 = p_2;
            Pixel _e18 = rest.p0_;
            store_pixel((at_5 + (_e14 * step_)), channel_3, _e18);
            Pixel _e20 = rest.p1_;
            Pixel _e22 = rest.p2_;
            Pixel _e24 = rest.p3_;
            Pixel _e26 = rest.p3_;
            rest = ConstructTile(_e20, _e22, _e24, _e26);
        }
    }
    return;
}

uint naga_div(uint lhs, uint rhs) {
    return lhs / (rhs == 0u ? 1u : rhs);
}

uint taps_of_phase(uint phase)
{
    return naga_div((5u - phase), STRIDE_X);
}

float4 value(uint at_6, float inside)
{
    if (true) {
        float4 _e5 = asfloat(g.Load4(at_6*16));
        const float4 _e6 = floats(_e5);
        return _e6;
    }
    float4 _e9 = asfloat(g.Load4(at_6*16));
    const float4 _e10 = floats(_e9);
    return (_e10 * inside);
}

float4 next_value(uint at_7, float inside_1)
{
    if (true) {
        return (0.0).xxxx;
    }
    const float4 _e5 = value(at_7, inside_1);
    return _e5;
}

uint naga_mod(uint lhs, uint rhs) {
    return lhs % (rhs == 0u ? 1u : rhs);
}

uint packed_column(uint kx)
{
    uint before = 0u;
    uint p_3 = 0u;

    uint2 loop_bound_1 = uint2(4294967295u, 4294967295u);
    bool loop_init_1 = true;
    while(true) {
        if (all(loop_bound_1 == uint2(0u, 0u))) { break; }
        loop_bound_1 -= uint2(loop_bound_1.y == 0u, 1u);
        if (!loop_init_1) {
            uint _e14 = p_3;
            p_3 = (_e14 + 1u);
        }
        loop_init_1 = false;
        uint _e5 = p_3;
        if ((_e5 < naga_mod(kx, STRIDE_X))) {
        } else {
            break;
        }
        {
            uint _e9 = before;
            uint _e10 = p_3;
            const uint _e11 = taps_of_phase(_e10);
            before = (_e9 + _e11);
        }
    }
    uint _e16 = before;
    const uint _e19 = taps_of_phase(naga_mod(kx, STRIDE_X));
    return (((_e16 + _e19) - 1u) - naga_div(kx, STRIDE_X));
}

int naga_div(int lhs, int rhs) {
    return lhs / (((lhs == int(-2147483647 - 1) & rhs == -1) | (rhs == 0)) ? 1 : rhs);
}

int first_reach(uint pad, uint kernel, uint stride)
{
    int n = asint(asuint(asint(asuint(int(pad)) - asuint(int(kernel)))) + asuint(int(1)));
    return naga_div(((n > int(0)) ? asint(asuint(asint(asuint(n) + asuint(int(stride)))) - asuint(int(1))) : n), int(stride));
}

float first(uint at_8)
{
    float4 _e3 = asfloat(weights.Load4(at_8*16));
    const float4 _e4 = floats(_e3);
    return _e4.x;
}

float4 phase_weights(uint4 at_9, bool4 reached)
{
    const float _e3 = first(at_9.x);
    const float _e5 = first(at_9.y);
    const float _e7 = first(at_9.z);
    const float _e9 = first(at_9.w);
    float4 w_3 = float4(_e3, _e5, _e7, _e9);
    return (reached ? w_3 : (0.0).xxxx);
}

float4 next_phase_weights(uint4 at_10, bool4 reached_1)
{
    if (true) {
        return (0.0).xxxx;
    }
    const float4 _e5 = phase_weights(at_10, reached_1);
    return _e5;
}

void store_phase(uint image, uint row, uint column, uint phase_1, float4 sum_2)
{
    bool local_4 = (bool)0;
    bool local_5 = (bool)0;

    uint iy = (row + naga_div(phase_1, STRIDE_X));
    uint ix = (column + naga_mod(phase_1, STRIDE_X));
    if ((phase_1 < 4u)) {
        local_4 = (iy < IN_HEIGHT);
    } else {
        local_4 = false;
    }
    bool _e22 = local_4;
    if (_e22) {
        local_5 = (ix < IN_WIDTH);
    } else {
        local_5 = false;
    }
    bool _e28 = local_5;
    if (_e28) {
        store((image + (((iy * IN_WIDTH) + ix) * 16u)), 0u, sum_2);
        return;
    } else {
        return;
    }
}

void store_phases(uint image_1, uint row_1, uint column_1, float4x4 sums)
{
    store_phase(image_1, row_1, column_1, 0u, sums[0]);
    store_phase(image_1, row_1, column_1, 1u, sums[1]);
    store_phase(image_1, row_1, column_1, 2u, sums[2]);
    store_phase(image_1, row_1, column_1, 3u, sums[3]);
    return;
}

Tile ZeroValueTile() {
    return (Tile)0;
}

void folded(uint four_2, uint item, uint block)
{
    Tile tile_2 = ZeroValueTile();
    int dy = (int)0;
    bool local_6 = (bool)0;
    int dx = (int)0;
    bool local_7 = (bool)0;
    bool local_8 = (bool)0;
    uint oc_1 = (uint)0;

    uint row_2 = naga_div(item, 4u);
    uint first_1 = (naga_mod(item, 4u) * TILE_PIXELS);
    if ((row_2 >= 4u)) {
        return;
    }
    uint image_2 = ((block * 18432u) + four_2);
    const int _e76 = first_reach(PAD_TOP, KERNEL_HEIGHT, STRIDE_Y);
    dy = _e76;
    uint2 loop_bound_2 = uint2(4294967295u, 4294967295u);
    bool loop_init_2 = true;
    while(true) {
        if (all(loop_bound_2 == uint2(0u, 0u))) { break; }
        loop_bound_2 -= uint2(loop_bound_2.y == 0u, 1u);
        if (!loop_init_2) {
            int _e385 = dy;
            dy = asint(asuint(_e385) + asuint(int(1)));
        }
        loop_init_2 = false;
        int _e78 = dy;
        if ((_e78 <= int(1))) {
        } else {
            break;
        }
        {
            int _e81 = dy;
            int oy = asint(asuint(int(row_2)) + asuint(_e81));
            if (!((oy < int(0)))) {
                local_6 = (oy >= int(3));
            } else {
                local_6 = true;
            }
            bool _e93 = local_6;
            if (_e93) {
                continue;
            }
            int _e125 = dy;
            int4 ky_1 = asint(asuint(int4(int(1), int(1), int(2), int(2))) - asuint((asint(asuint(_e125) * asuint(int(2)))).xxxx));
            bool4 in_rows = (((ky_1 >= (int(0)).xxxx) & (ky_1 < (int(4)).xxxx)) & bool4(true, true, true, true));
            const int _e164 = first_reach(PAD_LEFT, KERNEL_WIDTH, STRIDE_X);
            dx = _e164;
            uint2 loop_bound_3 = uint2(4294967295u, 4294967295u);
            bool loop_init_3 = true;
            while(true) {
                if (all(loop_bound_3 == uint2(0u, 0u))) { break; }
                loop_bound_3 -= uint2(loop_bound_3.y == 0u, 1u);
                if (!loop_init_3) {
                    int _e382 = dx;
                    dx = asint(asuint(_e382) + asuint(int(1)));
                }
                loop_init_3 = false;
                int _e166 = dx;
                if ((_e166 <= int(1))) {
                } else {
                    break;
                }
                {
                    int _e172 = dx;
                    int4 ox = asint(asuint(int4(((first_1).xxxx + PIXELS))) + asuint((_e172).xxxx));
                    if (true) {
                        if (!((ox.x < int(0)))) {
                            local_8 = (ox.x >= int(3));
                        } else {
                            local_8 = true;
                        }
                        bool _e190 = local_8;
                        local_7 = _e190;
                    } else {
                        local_7 = false;
                    }
                    bool _e192 = local_7;
                    if (_e192) {
                        continue;
                    }
                    float4 inside_2 = (((ox >= (int(0)).xxxx) & (ox < (int(3)).xxxx)) ? (1.0).xxxx : (0.0).xxxx);
                    uint4 column_2 = uint4(clamp(ox, (int(0)).xxxx, (int(2)).xxxx));
                    uint4 place_1 = ((image_2).xxxx + ((((uint(oy) * OUT_WIDTH)).xxxx + column_2) * 2048u));
                    int _e259 = dx;
                    int4 kx_1 = asint(asuint(int4(int(1), int(2), int(1), int(2))) - asuint((asint(asuint(_e259) * asuint(int(2)))).xxxx));
                    bool4 reached_2 = ((in_rows & (kx_1 >= (int(0)).xxxx)) & (kx_1 < (int(4)).xxxx));
                    uint4 x_2 = (reached_2 ? uint4(kx_1) : (0u).xxxx);
                    const uint _e281 = packed_column(x_2.x);
                    const uint _e283 = packed_column(x_2.y);
                    const uint _e285 = packed_column(x_2.z);
                    const uint _e287 = packed_column(x_2.w);
                    uint4 columns_1 = uint4(_e281, _e283, _e285, _e287);
                    uint4 tap = (reached_2 ? (((uint4(ky_1) * KERNEL_WIDTH) + columns_1) * 256u) : (0u).xxxx);
                    oc_1 = 0u;
                    uint2 loop_bound_4 = uint2(4294967295u, 4294967295u);
                    bool loop_init_4 = true;
                    while(true) {
                        if (all(loop_bound_4 == uint2(0u, 0u))) { break; }
                        loop_bound_4 -= uint2(loop_bound_4.y == 0u, 1u);
                        if (!loop_init_4) {
                            uint _e378 = oc_1;
                            oc_1 = (_e378 + TILE_DEPTH);
                        }
                        loop_init_4 = false;
                        uint _e304 = oc_1;
                        if ((_e304 < OUT_CHANNELS)) {
                        } else {
                            break;
                        }
                        {
                            uint _e307 = oc_1;
                            const float4 _e312 = phase_weights((tap + ((_e307 * TILE_VECTORS)).xxxx), reached_2);
                            uint _e313 = oc_1;
                            const float4 _e320 = next_phase_weights((tap + (((_e313 + 1u) * TILE_VECTORS)).xxxx), reached_2);
                            uint _e321 = oc_1;
                            uint4 at_11 = (place_1 + ((_e321 * 16u)).xxxx);
                            uint4 next = (at_11 + (16u).xxxx);
                            float4x4 _e331 = tile_2.p0_.v0_;
                            const float4 _e334 = value(at_11.x, inside_2.x);
                            const float4 _e337 = next_value(next.x, inside_2.x);
                            const float4x4 _e338 = add_product(_e331, _e312, _e334, _e320, _e337);
                            tile_2.p0_.v0_ = _e338;
                            if (false) {
                                float4x4 _e344 = tile_2.p1_.v0_;
                                const float4 _e347 = value(at_11.y, inside_2.y);
                                const float4 _e350 = next_value(next.y, inside_2.y);
                                const float4x4 _e351 = add_product(_e344, _e312, _e347, _e320, _e350);
                                tile_2.p1_.v0_ = _e351;
                            }
                            if (false) {
                                float4x4 _e357 = tile_2.p2_.v0_;
                                const float4 _e360 = value(at_11.z, inside_2.z);
                                const float4 _e363 = next_value(next.z, inside_2.z);
                                const float4x4 _e364 = add_product(_e357, _e312, _e360, _e320, _e363);
                                tile_2.p2_.v0_ = _e364;
                            }
                            if (false) {
                                float4x4 _e370 = tile_2.p3_.v0_;
                                const float4 _e373 = value(at_11.w, inside_2.w);
                                const float4 _e376 = next_value(next.w, inside_2.w);
                                const float4x4 _e377 = add_product(_e370, _e312, _e373, _e320, _e376);
                                tile_2.p3_.v0_ = _e377;
                            }
                        }
                    }
                }
            }
        }
    }
    uint to = ((block * 784u) + four_2);
    uint y = (row_2 * STRIDE_Y);
    float4x4 _e401 = tile_2.p0_.v0_;
    store_phases(to, y, (first_1 * STRIDE_X), _e401);
    if (false) {
        float4x4 _e409 = tile_2.p1_.v0_;
        store_phases(to, y, ((first_1 + 1u) * STRIDE_X), _e409);
    }
    if (false) {
        float4x4 _e417 = tile_2.p2_.v0_;
        store_phases(to, y, ((first_1 + 2u) * STRIDE_X), _e417);
    }
    if (false) {
        float4x4 _e425 = tile_2.p3_.v0_;
        store_phases(to, y, ((first_1 + 3u) * STRIDE_X), _e425);
        return;
    } else {
        return;
    }
}

int4 naga_div(int4 lhs, int4 rhs) {
    return lhs / (((lhs == int(-2147483647 - 1) & rhs == -1) | (rhs == 0)) ? 1 : rhs);
}

[numthreads(64, 1, 1)]
void main(uint3 id : SV_DispatchThreadID, uint3 group : SV_GroupID)
{
    bool local = (bool)0;
    uint columns = 0u;
    uint p = 0u;
    Tile tile = ZeroValueTile();
    uint ky = (uint)0;
    bool local_1 = (bool)0;
    uint t = (uint)0;
    bool local_2 = (bool)0;
    bool local_3 = (bool)0;
    uint oc = (uint)0;

    if (false) {
        uint _e16 = params.first_block;
        folded(naga_mod(id.x, 16u), naga_div(id.x, 16u), (_e16 + group.z));
        return;
    }
    uint four_3 = naga_mod(id.x, 16u);
    uint item_1 = naga_div(id.x, 16u);
    uint first_row = naga_mod(naga_div(group.y, STRIDE_X), STRIDE_Y);
    uint first_column = naga_mod(group.y, STRIDE_X);
    uint channels = naga_div(group.y, 4u);
    uint iy_1 = (first_row + (naga_div(item_1, 4u) * STRIDE_Y));
    uint ix_1 = (first_column + ((naga_mod(item_1, 4u) * TILE_PIXELS) * STRIDE_X));
    if (!((item_1 >= 16u))) {
        local = (iy_1 >= IN_HEIGHT);
    } else {
        local = true;
    }
    bool _e86 = local;
    if (_e86) {
        return;
    }
    uint _e89 = params.first_block;
    uint block_1 = (_e89 + group.z);
    uint phase_2 = naga_mod((first_column + PAD_LEFT), STRIDE_X);
    const uint _e96 = taps_of_phase(phase_2);
    uint2 loop_bound_5 = uint2(4294967295u, 4294967295u);
    bool loop_init_5 = true;
    while(true) {
        if (all(loop_bound_5 == uint2(0u, 0u))) { break; }
        loop_bound_5 -= uint2(loop_bound_5.y == 0u, 1u);
        if (!loop_init_5) {
            uint _e108 = p;
            p = (_e108 + 1u);
        }
        loop_init_5 = false;
        uint _e101 = p;
        if ((_e101 < phase_2)) {
        } else {
            break;
        }
        {
            uint _e103 = columns;
            uint _e104 = p;
            const uint _e105 = taps_of_phase(_e104);
            columns = (_e103 + _e105);
        }
    }
    uint image_3 = ((block_1 * 18432u) + four_3);
    ky = naga_mod((first_row + PAD_TOP), STRIDE_Y);
    uint2 loop_bound_6 = uint2(4294967295u, 4294967295u);
    bool loop_init_6 = true;
    while(true) {
        if (all(loop_bound_6 == uint2(0u, 0u))) { break; }
        loop_bound_6 -= uint2(loop_bound_6.y == 0u, 1u);
        if (!loop_init_6) {
            uint _e333 = ky;
            ky = (_e333 + STRIDE_Y);
        }
        loop_init_6 = false;
        uint _e128 = ky;
        if ((_e128 < KERNEL_HEIGHT)) {
        } else {
            break;
        }
        {
            uint _e134 = ky;
            int oy_1 = naga_div(asint(asuint(int((iy_1 + PAD_TOP))) - asuint(int(_e134))), int(2));
            uint _e143 = ky;
            if (!(((iy_1 + PAD_TOP) < _e143))) {
                local_1 = (oy_1 >= int(3));
            } else {
                local_1 = true;
            }
            bool _e153 = local_1;
            if (_e153) {
                continue;
            }
            t = 0u;
            uint2 loop_bound_7 = uint2(4294967295u, 4294967295u);
            bool loop_init_7 = true;
            while(true) {
                if (all(loop_bound_7 == uint2(0u, 0u))) { break; }
                loop_bound_7 -= uint2(loop_bound_7.y == 0u, 1u);
                if (!loop_init_7) {
                    uint _e331 = t;
                    t = (_e331 + 1u);
                }
                loop_init_7 = false;
                uint _e156 = t;
                if ((_e156 < _e96)) {
                } else {
                    break;
                }
                {
                    uint _e160 = t;
                    uint kx_2 = (phase_2 + (((_e96 - 1u) - _e160) * STRIDE_X));
                    int4 reach = asint(asuint(int4((((ix_1).xxxx + uint4(0u, 2u, 4u, 6u)) + (1u).xxxx))) - asuint((int(kx_2)).xxxx));
                    int4 ox_1 = naga_div(reach, (int(2)).xxxx);
                    if (true) {
                        if (!((reach.x < int(0)))) {
                            local_3 = (ox_1.x >= int(3));
                        } else {
                            local_3 = true;
                        }
                        bool _e209 = local_3;
                        local_2 = _e209;
                    } else {
                        local_2 = false;
                    }
                    bool _e211 = local_2;
                    if (_e211) {
                        continue;
                    }
                    float4 inside_3 = (((reach >= (int(0)).xxxx) & (ox_1 < (int(3)).xxxx)) ? (1.0).xxxx : (0.0).xxxx);
                    uint4 column_3 = uint4(clamp(ox_1, (int(0)).xxxx, (int(2)).xxxx));
                    uint4 place_2 = ((image_3).xxxx + ((((uint(oy_1) * OUT_WIDTH)).xxxx + column_3) * 2048u));
                    uint _e249 = ky;
                    uint _e253 = columns;
                    uint _e255 = t;
                    uint tap_1 = (((((((channels * KERNEL_HEIGHT) + _e249) * KERNEL_WIDTH) + _e253) + _e255) * OUT_CHANNELS) * TILE_VECTORS);
                    oc = 0u;
                    uint2 loop_bound_8 = uint2(4294967295u, 4294967295u);
                    bool loop_init_8 = true;
                    while(true) {
                        if (all(loop_bound_8 == uint2(0u, 0u))) { break; }
                        loop_bound_8 -= uint2(loop_bound_8.y == 0u, 1u);
                        if (!loop_init_8) {
                            uint _e327 = oc;
                            oc = (_e327 + TILE_DEPTH);
                        }
                        loop_init_8 = false;
                        uint _e263 = oc;
                        if ((_e263 < OUT_CHANNELS)) {
                        } else {
                            break;
                        }
                        {
                            uint _e266 = oc;
                            const Weights _e270 = weights_at((tap_1 + (_e266 * TILE_VECTORS)));
                            uint _e271 = oc;
                            const Weights _e277 = next_weights_at((tap_1 + ((_e271 + 1u) * TILE_VECTORS)));
                            uint _e278 = oc;
                            uint4 at_12 = (place_2 + ((_e278 * 16u)).xxxx);
                            uint4 next_1 = (at_12 + (16u).xxxx);
                            Pixel _e286 = tile.p0_;
                            const float4 _e289 = value(at_12.x, inside_3.x);
                            const float4 _e292 = next_value(next_1.x, inside_3.x);
                            const Pixel _e293 = add_products(_e286, _e270, _e289, _e277, _e292);
                            tile.p0_ = _e293;
                            if (false) {
                                Pixel _e297 = tile.p1_;
                                const float4 _e300 = value(at_12.y, inside_3.y);
                                const float4 _e303 = next_value(next_1.y, inside_3.y);
                                const Pixel _e304 = add_products(_e297, _e270, _e300, _e277, _e303);
                                tile.p1_ = _e304;
                            }
                            if (false) {
                                Pixel _e308 = tile.p2_;
                                const float4 _e311 = value(at_12.z, inside_3.z);
                                const float4 _e314 = next_value(next_1.z, inside_3.z);
                                const Pixel _e315 = add_products(_e308, _e270, _e311, _e277, _e314);
                                tile.p2_ = _e315;
                            }
                            if (false) {
                                Pixel _e319 = tile.p3_;
                                const float4 _e322 = value(at_12.w, inside_3.w);
                                const float4 _e325 = next_value(next_1.w, inside_3.w);
                                const Pixel _e326 = add_products(_e319, _e270, _e322, _e277, _e325);
                                tile.p3_ = _e326;
                            }
                        }
                    }
                }
            }
        }
    }
    uint channel_4 = ((channels * TILE_VECTORS) * 4u);
    uint at_13 = ((((((block_1 * IN_HEIGHT) + iy_1) * IN_WIDTH) + ix_1) * 1024u) + four_3);
    uint columns_left = naga_div((((max(IN_WIDTH, ix_1) - ix_1) + STRIDE_X) - 1u), STRIDE_X);
    Tile _e368 = tile;
    store_tile(at_13, 2048u, min(columns_left, TILE_PIXELS), channel_4, _e368);
    return;
}
