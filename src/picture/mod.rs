//! Pictures of what a model makes: sample grids and film strips, with text, as PNG files.
//!
//! Images are drawn as they are: -1 is black, +1 white, what lies outside is clamped. A value that is no finite number
//! is drawn in [`NOT_FINITE`], a loud magenta, so that a diverged run is seen at once. The page is white.

mod film;
mod grid;
pub mod plane;
pub mod plot;
pub mod run;
mod text;

pub use film::film;
pub use grid::{GridOptions, grid};

use crate::Result;
use crate::data::Images;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Rgb, RgbImage};
use std::path::Path;

/// The colour of a value that is NaN or infinite.
pub const NOT_FINITE: Rgb<u8> = Rgb([255, 0, 255]);

const PAGE: Rgb<u8> = Rgb([255, 255, 255]);

/// White pixels around every picture.
const MARGIN: usize = 8;
/// White pixels between two images that have no titles.
const GAP: usize = 3;

/// Writes a picture as a PNG file, atomically: whatever fails, an older file of that name stays whole.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if the file can't be written.
pub fn save_png(path: &Path, picture: &RgbImage) -> Result<()> {
    crate::files::write_atomically(path, |w| {
        // Images magnified without smoothing repeat whole rows: `Up` makes those zero.
        let encoder = PngEncoder::new_with_quality(w, CompressionType::Default, FilterType::Up);
        picture.write_with_encoder(encoder).map_err(|e| match e {
            image::ImageError::IoError(e) => e,
            e => std::io::Error::other(e),
        })
    })
}

/// The magnification that brings an image of this size nearest to 96 pixels, at least 1, while `columns` x `rows` of
/// them stay within some 4,000 pixels either way.
fn default_scale(width: usize, height: usize, columns: usize, rows: usize) -> usize {
    let side = width.max(height);
    let room = (4000 / (width * columns).max(height * rows).max(1)).max(1);
    ((96 + side / 2) / side.max(1)).clamp(1, room)
}

fn count(images: &Images) -> usize {
    assert!(matches!(images.shape.channels, 1 | 3), "images of shape {} can't be drawn", images.shape);
    if images.shape.is_empty() {
        return 0;
    }
    assert_eq!(images.values.len() % images.shape.len(), 0, "not whole images of shape {}", images.shape);
    images.values.len() / images.shape.len()
}

fn blank(width: usize, height: usize) -> RgbImage {
    RgbImage::from_pixel(width as u32, height as u32, PAGE)
}

/// Draws image `ix` with its upper left corner at (x, y), each of its pixels as `scale` x `scale`.
fn paste(page: &mut RgbImage, images: &Images, ix: usize, x: usize, y: usize, scale: usize) {
    let shape = images.shape;
    let values = &images.values[ix * shape.len()..][..shape.len()];
    let plane = shape.height * shape.width;
    for row in 0..shape.height * scale {
        for column in 0..shape.width * scale {
            let at = row / scale * shape.width + column / scale;
            let channel = |c: usize| values[(c % shape.channels) * plane + at];
            let rgb = [channel(0), channel(1), channel(2)];
            let pixel = if rgb.iter().all(|v| v.is_finite()) { Rgb(rgb.map(to_byte)) } else { NOT_FINITE };
            page.put_pixel((x + column) as u32, (y + row) as u32, pixel);
        }
    }
}

fn to_byte(v: f32) -> u8 {
    ((v.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8
}
