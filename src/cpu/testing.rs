//! What tests of layers by other means than taps share.

use crate::data::Shape;
use crate::kernels::pack_weights::Packing;
use crate::network::{ConvShape, Padding};
use rand::{RngExt, rngs::StdRng};

/// `[in channels, height, width], out channels, [kernel], [stride], [padding before], [padding after]`
pub(super) type ConvDims = ([usize; 3], usize, [usize; 2], [usize; 2], [usize; 2], [usize; 2]);

pub(super) fn shape((input, out_channels, kernel, stride, before, after): ConvDims) -> ConvShape {
    let [channels, height, width] = input;
    let padding = Padding { top: before[0], bottom: after[0], left: before[1], right: after[1] };
    ConvShape::new(Shape { channels, height, width }, out_channels, kernel, stride, padding)
}

pub(super) fn uniform(rng: &mut StdRng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

pub(super) fn packed(p: Packing, rng: &mut StdRng) -> Vec<f32> {
    let mut packed = vec![0.0; p.len()];
    for oc in 0..p.out_channels {
        for ic in 0..p.in_channels {
            for tap in 0..p.kernel_height * p.kernel_width {
                let at = p.index(oc, ic, tap / p.kernel_width, tap % p.kernel_width);
                packed[at] = rng.random_range(-0.1..0.1);
            }
        }
    }
    packed
}

pub(super) fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Within `allowed`, a share of the largest value.
pub(super) fn assert_near(what: &str, ours: &[f32], twin: &[f64], allowed: f64) {
    let scale = twin.iter().fold(0.0f64, |scale, v| scale.max(v.abs()));
    for (i, (ours, twin)) in ours.iter().zip(twin).enumerate() {
        let error = (f64::from(*ours) - twin).abs() / scale;
        assert!(error < allowed, "{what}, value {i}: {ours} for {twin}");
    }
}
